//! Several data planes in one process, over real sockets on loopback. Every wait is for a state, with a limit that
//! only a failure reaches.

mod admission;
mod common;
mod control;
mod killed;
mod parts;
mod relay;
mod swarm;
