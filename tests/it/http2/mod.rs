//! HTTP/2, over TLS and without, through the real binary.

mod bounds;
mod floods;
mod serving;
