//! `logout`: removes the stored token for a service.

use clap::Args;

use super::connection::Connection;
use super::failure::Failure;
use super::output::note;
use super::profiles::Profiles;
use super::server::Server;

/// Remove the stored token for a service. The token itself stays valid.
#[derive(Debug, Args)]
pub struct Logout {
    /// The URL of the service; without it, the one that other commands use
    pub url: Option<String>,
}

/// `ifmatch logout`
pub fn run(connection: &Connection) -> Result<(), Failure> {
    let (_, server) = Profiles::update(|profiles| {
        let server = connection.server_or_default(profiles)?;
        if profiles.tokens.remove(&server).is_none() {
            return Err(not_stored(&server, profiles));
        }
        profiles.default.take_if(|default| *default == server);
        Ok(server)
    })?;
    note(&format!(
        "The token for {} is no longer stored here. It stays valid until it is removed from the service's file of \
         tokens.",
        server.name()
    ));
    Ok(())
}

fn not_stored(server: &Server, profiles: &Profiles) -> Failure {
    let others: Vec<_> = profiles.tokens.keys().map(Server::name).collect();
    let others = match others.as_slice() {
        [] => "no token is stored at all".to_owned(),
        others => format!("tokens are stored for {}", others.join(", ")),
    };
    Failure::Input(format!(
        "no token is stored for {}: {others}",
        server.name()
    ))
}
