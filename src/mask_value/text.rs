//! Texts of the server: read as UTF-8 whatever the encoding of the database, masked, and made again in that encoding. A
//! text that cannot be read so, as in SQL_ASCII, is hidden.

use super::key;
use crate::backend::backend_local;
use crate::core::mask::json::mask_json;
use crate::core::mask::{HIDDEN, LONGEST, Mask, Spec, write};
use pgrx::pg_sys::{self, Datum, varlena};
use pgrx::varlena as layout;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};

backend_local! {
    /// Where masks are made, so that a value allocates nothing but itself.
    static OUT: RefCell<String> = const { RefCell::new(String::new()) };
    static ENCODING: Cell<Option<Encoding>> = const { Cell::new(None) };
}

/// What the bytes of a text are.
#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    /// Whatever the client sent.
    Unknown,
    /// Another one, with its number. ASCII characters are the same in all of them.
    Other(i32),
}

/// The mask of a value of the type text, varchar or bpchar.
///
/// # Safety
/// A value of such a type.
pub unsafe fn masked(value: Datum, spec: Spec) -> Datum {
    if spec.mask == Mask::None {
        return value;
    }
    // Safe: as the caller promises.
    unsafe {
        if !spec.needs_key() && (spec.mask == Mask::Hide || is_longer(value, LONGEST)) {
            return made(HIDDEN);
        }
        OUT.with_borrow_mut(|out| {
            out.clear();
            let bytes = layout::varlena_to_byte_slice(unpacked(value));
            match readable(bytes) {
                Some(text) => key::with(spec, |key| write(out, spec, &text, key)),
                None => out.push_str(HIDDEN),
            }
            made(out)
        })
    }
}

/// The mask of each element; dimensions and NULLs stay.
///
/// # Safety
/// An array of text or varchar.
pub unsafe fn masked_array(value: Datum, spec: Spec) -> Option<Datum> {
    if spec.mask == Mask::None {
        return Some(value);
    }
    // Safe: elements of the type that the array itself names, which has the layout of text; the server allocates what it
    // takes apart and what it builds in the memory of the current expression.
    unsafe {
        let array = pg_sys::pg_detoast_datum(value.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let (mut elements, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        let (kind, align) = ((*array).elemtype, pg_sys::TYPALIGN_INT as std::ffi::c_char);
        pg_sys::deconstruct_array(array, kind, -1, false, align, &mut elements, &mut nulls, &mut count);
        if count == 0 {
            return Some(value);
        }
        for number in 0..count as usize {
            if !*nulls.add(number) {
                *elements.add(number) = masked(*elements.add(number), spec);
            }
        }
        // Behind its header an array has its dimensions and their lower bounds.
        let dimensions = (*array).ndim;
        let sizes = array.add(1).cast::<i32>();
        let bounds = sizes.add(dimensions as usize);
        let built = pg_sys::construct_md_array(elements, nulls, dimensions, sizes, bounds, kind, -1, false, align);
        Some(Datum::from(built))
    }
}

/// The mask of a value of the type json.
///
/// # Safety
/// A value of that type.
pub unsafe fn masked_json(value: Datum, spec: Spec) -> Option<Datum> {
    if spec.mask == Mask::None {
        return Some(value);
    }
    // Safe: as the caller promises.
    unsafe {
        let json = json_of(layout::varlena_to_byte_slice(unpacked(value)), spec);
        let json = encoded(&json).unwrap_or(Cow::Borrowed(b"\"***\""));
        Some(made_of(&json))
    }
}

/// The mask of a value of the type jsonb.
///
/// # Safety
/// A value of that type.
pub unsafe fn masked_jsonb(value: Datum, spec: Spec) -> Option<Datum> {
    if spec.mask == Mask::None {
        return Some(value);
    }
    // Safe: the server's own functions of the type, which are STRICT and get a value of it and a C string.
    unsafe {
        let text = pgrx::direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(value)])?;
        let json = json_of(CStr::from_ptr(text.cast_mut_ptr()).to_bytes(), spec);
        let json = encoded(&json).unwrap_or(Cow::Borrowed(b"\"***\""));
        let json = CString::new(json.into_owned()).ok()?;
        let json = Datum::from(json.as_ptr());
        pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(json)])
    }
}

fn json_of(bytes: &[u8], spec: Spec) -> String {
    match readable(bytes) {
        Some(text) => key::with(spec, |key| mask_json(spec, &text, key)),
        None => format!("\"{HIDDEN}\""),
    }
}

/// A text for a comparison with names; what cannot be read is empty.
///
/// # Safety
/// A value of the type text.
pub unsafe fn read<'a>(value: Datum) -> Cow<'a, str> {
    // Safe: as the caller promises.
    readable(unsafe { layout::varlena_to_byte_slice(unpacked(value)) }).unwrap_or_default()
}

/// Whether a text has more bytes, without reading it.
unsafe fn is_longer(value: Datum, bytes: usize) -> bool {
    // Safe: a text of the server, of which only the header is read.
    unsafe {
        let text = value.cast_mut_ptr::<varlena>();
        let size = if is_plain(text) { layout::varsize_any(text) } else { pg_sys::toast_raw_datum_size(value) };
        size > bytes + pg_sys::VARHDRSZ
    }
}

/// Neither compressed nor stored elsewhere.
unsafe fn is_plain(text: *const varlena) -> bool {
    // Safe: reads the header.
    unsafe { layout::varatt_is_4b_u(text) || layout::varatt_is_1b(text) && !layout::varatt_is_1b_e(text) }
}

unsafe fn unpacked(value: Datum) -> *const varlena {
    let text = value.cast_mut_ptr::<varlena>();
    // Safe: a text of the server.
    unsafe { if is_plain(text) { text } else { pg_sys::pg_detoast_datum_packed(text) } }
}

/// A text in UTF-8; None if its bytes are none, or have no such characters.
fn readable<'a>(bytes: &'a [u8]) -> Option<Cow<'a, str>> {
    match encoding() {
        Encoding::Other(number) if !bytes.is_ascii() => {
            let converted = converted(bytes, number, pg_sys::pg_enc::PG_UTF8 as i32)?;
            String::from_utf8(converted).ok().map(Cow::Owned)
        }
        _ => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
    }
}

/// A text in the encoding of the database.
fn encoded(text: &str) -> Option<Cow<'_, [u8]>> {
    match encoding() {
        Encoding::Other(number) if !text.is_ascii() => {
            converted(text.as_bytes(), pg_sys::pg_enc::PG_UTF8 as i32, number).map(Cow::Owned)
        }
        _ => Some(Cow::Borrowed(text.as_bytes())),
    }
}

fn encoding() -> Encoding {
    if let Some(encoding) = ENCODING.get() {
        return encoding;
    }
    // Safe: a getter; a backend has one database.
    let encoding = match unsafe { pg_sys::GetDatabaseEncoding() } {
        number if number == pg_sys::pg_enc::PG_UTF8 as i32 => Encoding::Utf8,
        number if number == pg_sys::pg_enc::PG_SQL_ASCII as i32 => Encoding::Unknown,
        number => Encoding::Other(number),
    };
    ENCODING.set(Some(encoding));
    encoding
}

/// Bytes in another encoding; None where a character has no equivalent, which must not become an error that shows it.
fn converted(bytes: &[u8], from: i32, to: i32) -> Option<Vec<u8>> {
    let length = i32::try_from(bytes.len()).ok()?;
    // A character becomes at most so many bytes, and a NUL ends them.
    let mut made = vec![0_u8; (bytes.len() + 2) * pg_sys::MAX_CONVERSION_GROWTH as usize];
    // Safe: both buffers are as long as they are said to be; the function writes a C string.
    unsafe {
        let conversion = pg_sys::FindDefaultConversionProc(from, to);
        if conversion == pg_sys::InvalidOid {
            return None;
        }
        let (source, target) = (bytes.as_ptr().cast_mut(), made.as_mut_ptr());
        let room = i32::try_from(made.len()).ok()?;
        let read = pg_sys::pg_do_encoding_conversion_buf(conversion, from, to, source, length, target, room, true);
        if read != length {
            return None;
        }
    }
    made.truncate(made.iter().position(|byte| *byte == 0)?);
    Some(made)
}

/// A text of the server.
fn made(text: &str) -> Datum {
    made_of(&encoded(text).unwrap_or(Cow::Borrowed(HIDDEN.as_bytes())))
}

fn made_of(bytes: &[u8]) -> Datum {
    let size = bytes.len() + pg_sys::VARHDRSZ;
    // Safe: the allocation is as long as the header says.
    unsafe {
        let text = pg_sys::palloc(size).cast::<varlena>();
        layout::set_varsize_4b(text, size as i32);
        let content = text.cast::<u8>().add(pg_sys::VARHDRSZ);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), content, bytes.len());
        Datum::from(text)
    }
}
