//! An event that all its subscribers share.

use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::model::{Entry, Event};

/// How long a rendering of an event is besides its key, its value and the name of its writer, in bytes, roughly.
const RENDERING_REST_BYTES: usize = 256;
/// The longest rendering that subscribers share, in bytes. A longer one is made piece by piece for
/// each of them: one that does not read must not keep it in memory.
const SHARED_RENDERING_MAX_BYTES: usize = 16 * 1024;

/// An [`Event`] with room for one rendering of it, which all its subscribers share. What the
/// rendering looks like is up to them.
#[derive(Debug)]
pub struct SharedEvent {
    event: Event,
    rendering: OnceLock<Bytes>,
}

impl SharedEvent {
    /// Whether its rendering is too long to be shared.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.rendering_bytes() > SHARED_RENDERING_MAX_BYTES
    }

    /// The rendering that `render` makes for the first of its subscribers and all others share. Not
    /// for an event that [is long](Self::is_long).
    pub fn rendering(&self, render: impl FnOnce(&Self) -> Vec<u8>) -> Bytes {
        self.rendering.get_or_init(|| render(self).into()).clone()
    }

    /// About how long its rendering is, in bytes.
    #[must_use]
    pub fn rendering_bytes(&self) -> usize {
        let Entry { key, record } = &self.event.entry;
        key.as_str().len() + record.text_bytes() + RENDERING_REST_BYTES
    }

    /// About how much memory it takes, in bytes, once it was rendered.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let shared = if self.is_long() {
            0
        } else {
            self.rendering_bytes()
        };
        self.rendering_bytes() + shared
    }
}

impl From<Event> for SharedEvent {
    fn from(event: Event) -> Self {
        Self {
            event,
            rendering: OnceLock::new(),
        }
    }
}

impl Deref for SharedEvent {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}
