//! The `openim-bridge` program.

fn main() -> std::process::ExitCode {
    openim_bridge::cli::main()
}
