//! Fork names in Ethereum's test files.

use alloy_hardforks::{EthereumHardfork as Fork, ForkCondition};

use crate::chain::ChainSpec;

/// Chain id of all Ethereum test files.
const CHAIN_ID: u64 = 1;

/// The rules of the fork or transition with this name. An error says that they are not supported.
pub fn spec(name: &str) -> Result<ChainSpec, String> {
    if let Some((before, after, switch)) = transition(name) {
        let mut spec = ChainSpec::at_fork(CHAIN_ID, before);
        spec.forks.extend(
            ChainSpec::at_fork(CHAIN_ID, after)
                .forks
                .into_keys()
                .filter(|fork| *fork > before)
                .map(|fork| (fork, switch)),
        );
        return Ok(spec);
    }
    fork(name).map(|fork| ChainSpec::at_fork(CHAIN_ID, fork))
}

fn fork(name: &str) -> Result<Fork, String> {
    Ok(match name {
        "Frontier" => Fork::Frontier,
        "Homestead" => Fork::Homestead,
        "EIP150" | "TangerineWhistle" => Fork::Tangerine,
        "EIP158" | "SpuriousDragon" => Fork::SpuriousDragon,
        "Byzantium" => Fork::Byzantium,
        "ConstantinopleFix" | "Petersburg" => Fork::Petersburg,
        "Istanbul" => Fork::Istanbul,
        "Berlin" => Fork::Berlin,
        "London" => Fork::London,
        "Merge" | "Paris" => Fork::Paris,
        "Shanghai" => Fork::Shanghai,
        "Cancun" => Fork::Cancun,
        "Prague" => Fork::Prague,
        "Osaka" => Fork::Osaka,
        "Constantinople" => return Err("Constantinople was replaced by Petersburg before any chain ran it".into()),
        other => return Err(format!("`{other}` is not a fork that this executor offers")),
    })
}

/// Test chains that change rules at a block or a time.
fn transition(name: &str) -> Option<(Fork, Fork, ForkCondition)> {
    let at_5 = ForkCondition::Block(5);
    let at_15k = ForkCondition::Timestamp(15_000);
    Some(match name {
        "FrontierToHomesteadAt5" => (Fork::Frontier, Fork::Homestead, at_5),
        "HomesteadToEIP150At5" => (Fork::Homestead, Fork::Tangerine, at_5),
        "EIP158ToByzantiumAt5" => (Fork::SpuriousDragon, Fork::Byzantium, at_5),
        "ByzantiumToConstantinopleFixAt5" => (Fork::Byzantium, Fork::Petersburg, at_5),
        "BerlinToLondonAt5" => (Fork::Berlin, Fork::London, at_5),
        "ParisToShanghaiAtTime15k" => (Fork::Paris, Fork::Shanghai, at_15k),
        "ShanghaiToCancunAtTime15k" => (Fork::Shanghai, Fork::Cancun, at_15k),
        "CancunToPragueAtTime15k" => (Fork::Cancun, Fork::Prague, at_15k),
        "PragueToOsakaAtTime15k" => (Fork::Prague, Fork::Osaka, at_15k),
        _ => return None,
    })
}
