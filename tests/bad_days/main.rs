//! Bad days: providers that fail in every way that one can, whole sessions that go on after it, viewers that leave in the
//! midst, and texts that nobody writes.

mod faulty;
mod providers;
#[path = "../standin/server.rs"]
mod server;
mod sessions;
mod soak;
mod texts;
