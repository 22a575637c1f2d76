//! The networks that a node can join, with their presets and genesis templates.

/// A network: its name and the values that its nodes start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub name: &'static str,
    pub about: &'static str,
    /// Configuration preset, in TOML.
    pub preset: &'static str,
    /// Genesis template, a file of `config/genesis`. Validators and accounts are added at launch.
    pub genesis: &'static str,
}

/// All networks.
pub const fn networks() -> &'static [Network] {
    &[
        Network {
            name: "dev",
            about: "a new chain on this machine, with funded accounts",
            preset: include_str!("../networks/dev.toml"),
            genesis: include_str!("../genesis/dev.json"),
        },
        Network {
            name: "test",
            about: "the public test network; its coins are worth nothing",
            preset: include_str!("../networks/test.toml"),
            genesis: include_str!("../genesis/test.json"),
        },
        Network {
            name: "main",
            about: "the main network",
            preset: include_str!("../networks/main.toml"),
            genesis: include_str!("../genesis/main.json"),
        },
    ]
}

/// Finds a network by its name.
pub fn network(name: &str) -> Option<&'static Network> {
    networks().iter().find(|network| network.name == name)
}
