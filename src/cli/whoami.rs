//! `whoami`: who the service takes you for, and what you may do.

use super::caller::Caller;
use super::client::Client;
use super::failure::Failure;
use super::output::Output;

/// `ifmatch whoami`
pub async fn run(client: &Client, output: &Output) -> Result<(), Failure> {
    let caller = Caller::ask(client).await?;
    caller.print(&client.server_name(), output)
}
