//! The `openledger` program: everything it does is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    daemon::cli::main()
}
