//! The flags that the user has typed, for the commands that messages suggest: with them, a suggested command works
//! when it is pasted. What the environment says need not be repeated.

/// Flags, each after a space.
#[derive(Debug, Clone, Default)]
pub struct TypedFlags {
    /// Those for a command other than `login`.
    pub all: String,
    /// Those for `login URL`.
    pub of_login: String,
}
