//! Convergence: any statements, in any order.

use super::*;

/// Pseudo-random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 += 1;
        let drawn = digest("openledger/test/dice/1", &[&self.0.to_be_bytes()]);
        usize::try_from(u64::from_be_bytes(*drawn.first_chunk().unwrap()) % below as u64).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.roll(at + 1));
        }
    }
}

/// Any statement that a node might make, valid or not.
fn act(scenario: &Scenario, dice: &mut Dice, by: u8, proposals: &[StatementId]) -> Act {
    let who = u8::try_from(2 + dice.roll(4)).unwrap();
    let of = u8::try_from(10 + dice.roll(6)).unwrap();
    let proposal = proposals
        .get(dice.roll(proposals.len().max(1)))
        .copied()
        .unwrap_or(StatementId([0; 32]));
    let owners = if by == OWNER { 4 } else { 0 };
    match dice.roll(6 + owners) {
        0 => Act::Propose {
            root: root(of),
            licence: licence("CC0-1.0"),
            account: Account([by; 20]),
        },
        1 => Act::Decide {
            proposal,
            approve: dice.roll(2) == 0,
            why: String::new(),
        },
        2 => Act::Withdraw(proposal),
        3 => Act::Appeal {
            proposal,
            why: String::new(),
        },
        4 => Act::Bury {
            root: root(of),
            why: String::new(),
        },
        5 => {
            let contributor = scenario
                .registry
                .statement(&proposal)
                .map_or(node(by), |said| said.message.speaker);
            let epoch = Some(KeyEpoch(u32::try_from(dice.roll(3)).unwrap()));
            let entry = Entry {
                root: root(of),
                contributor,
                proposal: (dice.roll(2) == 0).then_some(proposal),
                epoch,
            };
            Act::Publish(Version {
                number: 1 + dice.roll(5) as u64,
                previous: None,
                entries: vec![entry],
            })
        }
        6 => Act::Rotate(scenario.registry.epoch().next()),
        7 => scenario.registry.revocation(node(who)),
        _ => Act::Grant(Grant {
            subject: node(who),
            key: MemberSecret::of_node(&key(who)).public(),
            role: [Role::Reader, Role::Contributor, Role::Curator][dice.roll(3)],
            until: Time(dice.roll(3) as u64 * 4_500),
            epoch: scenario.registry.epoch(),
        }),
    }
}

#[test]
fn the_same_statements_in_any_order_give_the_same_state() {
    let rounds = std::option_env!("DATANET_ROUNDS")
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(12);
    let policies = [Contribution::Open, Contribution::Curated, Contribution::Members];
    for seed in 0..rounds {
        let mut dice = Dice(seed << 32);
        let mut scenario = Scenario::of(Access::Permissioned, policies[dice.roll(3)]);
        let empty = scenario.registry.clone();
        let mut proposals = Vec::new();
        for _ in 0..60 {
            let by = u8::try_from(1 + dice.roll(4)).unwrap();
            let act = act(&scenario, &mut dice, by, &proposals);
            let proposes = matches!(act, Act::Propose { .. });
            let id = scenario.say(by, act);
            proposals.extend(proposes.then_some(id));
        }
        let mut said: Vec<Signed<Statement>> = scenario.registry.statements().map(|(_, said)| said.clone()).collect();
        for _ in 0..3 {
            dice.shuffle(&mut said);
            let mut other = empty.clone();
            for piece in said.chunks(1 + dice.roll(20)) {
                // Receiving a statement twice has no effect.
                other.insert(piece.iter().chain(piece).cloned()).unwrap();
            }
            assert_eq!(other, scenario.registry, "seed {seed}");
        }
        assert_eq!(scenario.registry.insert(said), Ok(false), "nothing new");
    }
}
