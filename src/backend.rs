//! State of this backend: what a `thread_local!` would hold in a program of many threads. A backend is one thread, so a
//! plain static does, and reading it costs nothing.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A static that belongs to the backend's only thread.
pub struct Backend<T>(T);

// Safe: PostgreSQL runs a backend, and every call into this library, in one thread. The threads that verification
// starts are given all they need and touch no static.
unsafe impl<T> Sync for Backend<T> {}

impl<T> Backend<T> {
    pub const fn new(value: T) -> Backend<T> {
        Backend(value)
    }

    pub fn with<R>(&self, body: impl FnOnce(&T) -> R) -> R {
        body(&self.0)
    }
}

impl<T> Backend<Cell<T>> {
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        self.0.get()
    }

    pub fn set(&self, value: T) {
        self.0.set(value);
    }

    pub fn replace(&self, value: T) -> T {
        self.0.replace(value)
    }

    pub fn take(&self) -> T
    where
        T: Default,
    {
        self.0.take()
    }
}

impl<T> Backend<RefCell<T>> {
    pub fn with_borrow<R>(&self, body: impl FnOnce(&T) -> R) -> R {
        body(&self.0.borrow())
    }

    pub fn with_borrow_mut<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        body(&mut self.0.borrow_mut())
    }
}

/// Declares statics of this backend, as `thread_local!` does those of a thread.
macro_rules! backend_local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = const { $value:expr };)+) => {
        $($(#[$attribute])* $visibility static $name: $crate::backend::Backend<$type> =
            $crate::backend::Backend::new($value);)+
    };
}
pub(crate) use backend_local;

/// A map whose keys are oids, or numbers that are well mixed already. Nobody outside chooses oids, so no secret is needed.
pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Spreads a number over all bits.
#[derive(Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(29);
    }
}
