//! The `openledger` program once more, so that cargo builds it with the tests and benches of this package that run it:
//! another package's program is not known to them.

fn main() -> std::process::ExitCode {
    daemon::cli::main()
}
