//! The commands.
pub mod find;
pub mod online;
pub mod setup;

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
