//! The networks that a node can belong to.

/// A network, by what its nodes are set to before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What its nodes are set to, as TOML.
    pub preset: &'static str,
    /// What its first block is made from: a file of `config/genesis`, without the validators and accounts that a launch
    /// brings.
    pub genesis: &'static str,
}

/// All of them.
pub const fn networks() -> &'static [Network] {
    &[
        Network {
            name: "dev",
            about: "a chain of your own on this machine, with funded accounts",
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

/// The network of that name.
pub fn network(name: &str) -> Option<&'static Network> {
    networks().iter().find(|network| network.name == name)
}
