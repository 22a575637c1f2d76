//! Models as their directories describe them.

mod config;

pub use config::{Config, ConfigError, Family, RopeScaling};
