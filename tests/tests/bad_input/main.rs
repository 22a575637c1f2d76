//! Input that is no good, from people and from the network: it is refused, and nothing breaks.

mod commands;
mod decoders;
