//! Tables: a name, and what kinds of keys and values are in it.
//!
//! Two kinds of keys. An **ordered** key (a nonce, a sequence number) stands in
//! the file as it is, in the order of its numbers, so ranges can be read. A
//! **hidden** key (a wallet, a node key) is replaced by its MAC, which nobody
//! can search for without the store's key; because a MAC can't be turned back,
//! the sealed value carries the key itself.

use std::marker::PhantomData;

use alloy_primitives::Address;

use super::codec::{DecodeError, Reader, Writer};

/// A key of a table.
pub trait Key: Sized {
    /// Whether the file holds a MAC of it instead of the key itself.
    const HIDDEN: bool;

    /// Writes it. Two keys are the same key when these bytes are the same.
    fn write(&self, out: &mut Writer);

    /// Reads it back.
    ///
    /// # Errors
    ///
    /// When the bytes are no such key.
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// A key that is not hidden, has always the same length, and whose bytes order
/// as its values do.
pub trait OrderedKey: Key {}

macro_rules! ordered_number {
    ($($type:ident),*) => {$(
        impl Key for $type {
            const HIDDEN: bool = false;

            fn write(&self, out: &mut Writer) {
                out.$type(*self);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                from.$type()
            }
        }

        impl OrderedKey for $type {}
    )*};
}

ordered_number!(u8, u16, u32, u64, u128);

impl Key for Address {
    const HIDDEN: bool = true;

    fn write(&self, out: &mut Writer) {
        out.raw(self.as_slice());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.array().map(Self::new)
    }
}

/// A node key, or a hash that somebody could look for.
impl Key for [u8; 32] {
    const HIDDEN: bool = true;

    fn write(&self, out: &mut Writer) {
        out.raw(self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.array()
    }
}

/// Hidden as a whole when either part is.
impl<A: Key, B: Key> Key for (A, B) {
    const HIDDEN: bool = A::HIDDEN || B::HIDDEN;

    fn write(&self, out: &mut Writer) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

impl<A: OrderedKey, B: OrderedKey> OrderedKey for (A, B) {}

/// A table: declare it as a `const`, use it in transactions.
#[derive(Debug)]
pub struct Table<K, V> {
    name: &'static str,
    holds: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// The table of that name; it comes to be with its first value.
    ///
    /// The name stands in the file in the clear, and every value is bound to
    /// it. Names that begin with `masq.` are the store's own.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            holds: PhantomData,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}
