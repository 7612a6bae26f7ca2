//! Who may do what.
//!
//! | file | has |
//! | --- | --- |
//! | `grants` | actions on prefixes of keys; pure |
//! | `principal` | who asks: a name, its grants, and until when |
//! | `secret`, `tokens` | the text of a token, and the file that says who has which; pure but for new tokens |
//! | `authority`, `sessions` | from the token or the session of a request to its principal |
//! | `attempts` | how often an address has failed to sign in |
//! | `tokens_file` | reads the file again when it changes |

#[cfg(feature = "server")]
mod attempts;
#[cfg(feature = "server")]
mod authority;
mod grants;
mod principal;
#[cfg(feature = "server")]
mod secret;
#[cfg(feature = "server")]
mod sessions;
#[cfg(feature = "server")]
mod tokens;
#[cfg(feature = "server")]
mod tokens_file;

#[cfg(feature = "server")]
pub use self::authority::Authority;
#[cfg(feature = "server")]
pub(crate) use self::authority::{Caller, SignInError, Unauthorized};
pub use self::grants::{Action, Grant, Grants, Readable};
pub use self::principal::Principal;
#[cfg(feature = "server")]
pub use self::secret::{TokenHash, hash_of, is_well_formed, new_token};
#[cfg(feature = "server")]
pub(crate) use self::tokens::Identity;
#[cfg(feature = "server")]
pub use self::tokens::{Tokens, TokensError};
#[cfg(feature = "server")]
pub use self::tokens_file::{TokensFileError, WatchedTokens};
