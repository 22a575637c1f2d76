//! The foundation of the daemon's crates: everything here is used by several of them and knows no chain, network or model.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`home`] | the folder of a node and the name of every file in it; begin here |
//! | [`clock`], [`entropy`] | the only files that read the wall clock and the system's randomness |
//! | [`key`] | the key files of node and validator |
//! | [`lock`] | mutexes that outlive a panic of their holder |
//! | [`events`] | what happened in this node: logged, and broadcast to listeners |
//! | [`metrics`] | the Prometheus text format |
//! | [`report`] | progress and failure of an operation, as an operator sees them |
//! | [`errors`] | an error with its causes in one line |
//! | [`operator`] | requests and responses of the operator's API |
//! | [`guard`] | the checks in front of every HTTP interface: host, origin, token, CORS |
//! | [`http`], [`listen`] | HTTP clients for this machine; listening with errors that name the configuration key |
//! | [`busy`] | tells training runs that completions are under way |

#![forbid(unsafe_code)]

pub mod argument;
pub mod busy;
pub mod clock;
pub mod entropy;
pub mod errors;
pub mod events;
pub mod guard;
pub mod home;
pub mod http;
pub mod key;
pub mod listen;
pub mod lock;
pub mod metrics;
pub mod operator;
pub mod report;
