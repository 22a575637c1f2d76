//! Renewal of deals: the owner adds to the escrow, and sends the renewal to each host until it confirms.

use protocol::{
    NodeId,
    crypto::Signed,
    machine::Renewal,
    message::pin::{PinReply, PinRequest},
};
use tracing::info;

use super::{PinError, Pins, owner::Owned, record::PinRecord};
use base::{
    argument::InvalidArgument,
    operator::pin::{PinStatus, RenewRequest},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Pins {
    /// Extends this node's deals about a dataset.
    pub async fn renew(&self, ask: RenewRequest) -> Result<PinStatus, PinError> {
        self.0.peer.network()?;
        if ask.days == 0 {
            let what = "0 is too short; give at least 1, or end the deal with `openledger pin rm`";
            return Err(InvalidArgument::new("days", what).into());
        }
        let running = |owned: &std::sync::Arc<Owned>| owned.signed.message.set == ask.root && !owned.is_over();
        let running: Vec<_> = self.0.deals.owned().into_iter().filter(running).collect();
        if running.is_empty() {
            return Err(PinError::NoDeal { root: ask.root });
        }
        let more_ms = u64::from(ask.days) * DAY_MS;
        for owned in running {
            let deal = owned.deal();
            let more = self.0.deals.escrow(deal.price, deal.copies, more_ms);
            let (until, escrow) = (deal.until.after_ms(more_ms), deal.escrow.0.saturating_add(more.0));
            let said = PinRecord::Renewed {
                until,
                escrow: protocol::Amount(escrow),
            };
            owned.apply(self, said).await?;
            info!(deal = %format_args!("{:#}", owned.id), until_ms = until.0 / 1000, "renewed a deal");
            owned.send_renewal(self);
        }
        self.status(ask.root).await
    }
}

impl Owned {
    /// The signed renewal, if the deal was renewed.
    pub(super) fn renewal(&self, pins: &Pins) -> Option<Signed<Renewal>> {
        let deal = self.deal();
        let renewed = deal.until > self.signed.message.until;
        renewed.then(|| {
            pins.0.peer.sign(Renewal {
                deal: self.id,
                owner: deal.owner,
                until: deal.until,
                escrow: deal.escrow,
            })
        })
    }

    /// Sends the renewal to every host that has not confirmed it.
    pub(super) fn send_renewal(self: &std::sync::Arc<Self>, pins: &Pins) {
        let Some(renewal) = self.renewal(pins) else { return };
        for host in self.holding() {
            if self.has_confirmed(host, renewal.message.until) {
                continue;
            }
            let (owned, renewal) = (self.clone(), renewal.clone());
            pins.spawn(move |pins| async move { owned.send_renewal_to(&pins, host, renewal).await });
        }
    }

    async fn send_renewal_to(&self, pins: &Pins, host: NodeId, renewal: Signed<Renewal>) {
        let until = renewal.message.until;
        // It is sent again at the next epoch if there is no reply.
        if let Ok(PinReply::Accepted) = pins.ask(host, &PinRequest::Renew(renewal)).await {
            self.set_confirmed(host, until);
        }
    }
}
