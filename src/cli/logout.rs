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
        if profiles.services.remove(&server).is_none() {
            return Err(not_stored(connection, &server, profiles));
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

fn not_stored(connection: &Connection, server: &Server, profiles: &Profiles) -> Failure {
    let others: Vec<_> = profiles.services.keys().map(Server::name).collect();
    let is_named = connection.names_server() || profiles.default.is_some();
    Failure::Input(match others.as_slice() {
        [] => "there was no login stored, so there is nothing to remove".to_owned(),
        others if is_named => format!(
            "there was no login stored for {}; there are logins for {}",
            server.name(),
            others.join(", ")
        ),
        others => format!(
            "no service is the default, so name the one whose login you want to remove: ifmatch logout URL\nThere \
             are logins for {}",
            others.join(", ")
        ),
    })
}
