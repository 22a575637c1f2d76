//! Deals that go on: the owner sets more aside, and every host is told until it has heard.

use protocol::{
    NodeId,
    crypto::Signed,
    machine::Renewal,
    message::pin::{PinReply, PinRequest},
};
use tracing::info;

use super::{PinError, Pins, note::OwnerSaid, owner::Owned};
use base::operator::pin::{PinStatus, RenewAsk};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Pins {
    /// Lets this node's deals about a dataset go on for longer.
    pub async fn renew(&self, ask: RenewAsk) -> Result<PinStatus, PinError> {
        self.0.peer.network()?;
        if ask.days == 0 {
            let what = "0 days are no renewal; give at least 1, or end the deal with `openledger pin rm`".to_owned();
            return Err(PinError::Ask { field: "days", what });
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
            let said = OwnerSaid::Renewed {
                until,
                escrow: protocol::Amount(escrow),
            };
            owned.tell(self, said).await?;
            info!(deal = %format_args!("{:#}", owned.id), until_ms = until.0 / 1000, "a deal was renewed");
            owned.spread(self);
        }
        self.status(ask.root).await
    }
}

impl Owned {
    /// The owner's word that the deal goes on, if it was renewed.
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

    /// Tells every host that has not heard it how long the deal goes on.
    pub(super) fn spread(self: &std::sync::Arc<Self>, pins: &Pins) {
        let Some(renewal) = self.renewal(pins) else { return };
        for host in self.holding() {
            if self.has_heard(host, renewal.message.until) {
                continue;
            }
            let (owned, renewal) = (self.clone(), renewal.clone());
            pins.spawn(move |pins| async move { owned.tell_host(&pins, host, renewal).await });
        }
    }

    async fn tell_host(&self, pins: &Pins, host: NodeId, renewal: Signed<Renewal>) {
        let until = renewal.message.until;
        // Who does not answer is told again when the next epoch begins.
        if let Ok(PinReply::Accepted) = pins.ask(host, &PinRequest::Renew(renewal)).await {
            self.heard(host, until);
        }
    }
}
