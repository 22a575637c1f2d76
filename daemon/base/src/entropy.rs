//! The only file that reads the randomness of the operating system.

/// Random bytes for a key or a salt.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness or nothing here is safe");
    bytes
}
