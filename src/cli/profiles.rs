//! The tokens that `ifmatch login` has stored, and the service that commands use by default: a TOML file that
//! only its owner may read.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::failure::Failure;
use super::server::Server;
use super::text::{shell_quoted, toml_string};
use super::token_text::{OF_OTHERS, TokenText};
use crate::atomic_file::{FolderSync, ReplacedFile};

/// The folder in `$XDG_CONFIG_HOME`, and the file in it.
const FOLDER: &str = "ifmatch";
const FILE: &str = "config.toml";
/// How the file begins.
const HEAD: &str = "# Written by `ifmatch login` and `ifmatch logout`.\n";

/// What is in the file.
#[derive(Debug, Default)]
pub struct Profiles {
    /// Where it is. `None` if neither `XDG_CONFIG_HOME` nor `HOME` is set.
    path: Option<PathBuf>,
    /// What commands without `--server` use.
    pub default: Option<Server>,
    /// The logins.
    pub services: BTreeMap<Server, Login>,
}

/// What a login has stored.
#[derive(Debug)]
pub struct Login {
    pub token: TokenText,
    /// The path of the file with the certificates of those who may vouch for the service.
    pub ca: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    default: Option<String>,
    #[serde(default)]
    server: BTreeMap<String, WrittenProfile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProfile {
    token: String,
    ca: Option<String>,
}

impl Profiles {
    /// Reads the file, which need not exist.
    pub fn load() -> Result<Self, Failure> {
        match path() {
            Some(path) => Self::read(path),
            None => Ok(Self::default()),
        }
    }

    /// Changes the file, so that nothing that another process stores at the same time is lost.
    pub fn update<T>(
        change: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<(PathBuf, T), Failure> {
        let path = path().ok_or_else(|| {
            Failure::Input(
                "there is no place to store the token: set HOME or XDG_CONFIG_HOME".to_owned(),
            )
        })?;
        let failed = |error| Failure::file(&path, error);
        let folder = path.parent().unwrap_or(&path);
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(folder).map_err(failed)?;
        let lock = File::open(folder).map_err(failed)?;
        // A file system without locks is no reason not to store anything.
        let _ = lock.lock();
        let mut profiles = Self::read(path.clone())?;
        let changed = change(&mut profiles)?;
        // It is there before the text is, so that it has its mode from the beginning.
        let mut created = File::options();
        created.write(true).create(true).mode(0o600);
        created.open(&path).map_err(failed)?;
        let file = ReplacedFile::new(&path, FolderSync::IfPossible).map_err(failed)?;
        file.replace(|to| to.write_all(profiles.to_toml().as_bytes()))
            .map_err(|error| Failure::replace(&path, error))?;
        Ok((path, changed))
    }

    /// Where the file is, for messages.
    pub fn path(&self) -> PathBuf {
        self.path.clone().unwrap_or_default()
    }

    fn read(path: PathBuf) -> Result<Self, Failure> {
        let text = match read_private(&path) {
            Ok(text) => text,
            Err(Failure::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                String::new()
            }
            Err(failure) => return Err(failure),
        };
        // Not the error's own text, which may show the token.
        let written: Written = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|place| text.get(..place.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            invalid(&path, &format!("line {line} cannot be read"))
        })?;
        let server_of = |url: &str| {
            let server = url.parse::<Server>();
            server
                .map_err(|reason| invalid(&path, &format!("a server's URL is not valid: {reason}")))
        };
        let default = written.default.as_deref().map(server_of).transpose()?;
        let mut services = BTreeMap::new();
        for (url, profile) in written.server {
            let server = server_of(&url)?;
            let source = format!("{}: the token for {}", path.display(), server.name());
            let token = TokenText::parse(profile.token.as_bytes(), &source)?;
            let ca = profile.ca;
            services.insert(server, Login { token, ca });
        }
        Ok(Self {
            path: Some(path),
            default,
            services,
        })
    }

    fn to_toml(&self) -> String {
        let mut text = HEAD.to_owned();
        // Writing to a string cannot fail.
        if let Some(server) = &self.default {
            let _ = writeln!(text, "default = {}", toml_string(&server.name()));
        }
        for (server, Login { token, ca }) in &self.services {
            let (server, token) = (toml_string(&server.name()), toml_string(token.reveal()));
            let _ = writeln!(text, "\n[server.{server}]\ntoken = {token}");
            if let Some(ca) = ca {
                let _ = writeln!(text, "ca = {}", toml_string(ca));
            }
        }
        text
    }
}

/// The file's text, if nobody else may read it.
fn read_private(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::file(path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & OF_OTHERS != 0 {
        let quoted = shell_quoted(&path.to_string_lossy());
        return Err(Failure::Input(format!(
            "{}: other users of this machine may use it (mode {:o}), so the tokens in it were not used\nOnly you \
             should be able to: chmod 600 {quoted}",
            path.display(),
            mode & 0o777
        )));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn invalid(path: &Path, reason: &str) -> Failure {
    Failure::Input(format!(
        "{}: {reason}\nCorrect it, or remove the file and sign in again: ifmatch login URL",
        path.display()
    ))
}

/// Where the file is (XDG Base Directory Specification: a relative path in the variable is ignored).
fn path() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(config.join(FOLDER).join(FILE))
}
