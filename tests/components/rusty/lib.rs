//! The component of `world.wit` without any crate: exports and imports by the names and layouts of the canonical ABI.
//! `build.py` makes `rusty.wasm` of it.

use std::alloc::{alloc, realloc, Layout};
use std::collections::BTreeMap;

#[link(wasm_import_module = "durable:host/log@0.1.0")]
extern "C" {
    #[link_name = "log"]
    fn host_log(level: i32, at: *const u8, size: usize);
}

#[link(wasm_import_module = "durable:host/storage@0.1.0")]
extern "C" {
    // The option<string> of the namespace is three values; results are written to the last address.
    #[link_name = "get"]
    fn host_get(key: *const u8, size: usize, some: i32, at: *const u8, length: usize, result: *mut Answer);
    #[link_name = "set"]
    fn host_set(
        key: *const u8, size: usize, value: *const u8, value_size: usize,
        some: i32, at: *const u8, length: usize, result: *mut Answer,
    );
}

/// result<option<string>, failure> and result<_, failure>: a byte, padding, and four words.
#[repr(C)]
#[derive(Default)]
struct Answer {
    failed: u8,
    words: [usize; 4],
}

impl Answer {
    /// failure { kind, message }
    fn failure(&self) -> String {
        let w = &self.words;
        unsafe { format!("{}: {}", given(w[0] as _, w[1]), given(w[2] as _, w[3])) }
    }
}

/// Where the host puts what it gives: it becomes ours.
#[export_name = "cabi_realloc"]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    if size == 0 {
        return align as *mut u8;
    }
    if old_size == 0 {
        return alloc(Layout::from_size_align_unchecked(size, align));
    }
    realloc(old, Layout::from_size_align_unchecked(old_size, align), size)
}

unsafe fn bytes(at: *mut u8, size: usize) -> Vec<u8> {
    if size == 0 { Vec::new() } else { Vec::from_raw_parts(at, size, size) }
}

unsafe fn given(at: *mut u8, size: usize) -> String {
    String::from_utf8(bytes(at, size)).unwrap()
}

/// Give it away, to an instance that ends with the call.
fn leaked(data: Vec<u8>) -> [usize; 2] {
    let kept = Box::leak(data.into_boxed_slice());
    [kept.as_ptr() as usize, kept.len()]
}

fn result<const N: usize>(words: [usize; N]) -> *const usize {
    Box::leak(Box::new(words)).as_ptr()
}

#[export_name = "test:rusty/words@0.1.0#count"]
unsafe extern "C" fn count(at: *mut u8, size: usize, order: i32) -> *const usize {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in given(at, size).split_whitespace() {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let mut words: Vec<(String, usize)> = counts.into_iter().collect();
    if order == 1 {
        words.sort_by_key(|(_, count)| std::cmp::Reverse(*count)); // stable: then by name
    }
    let records: Vec<[usize; 3]> = words
        .into_iter()
        .map(|(text, count)| {
            let [at, size] = leaked(text.into_bytes());
            [at, size, count]
        })
        .collect();
    let records = Box::leak(records.into_boxed_slice());
    result([records.as_ptr() as usize, records.len()])
}

/// result<s64, string>: its payload is aligned to eight bytes.
#[repr(C, align(8))]
struct Parsed {
    failed: u8,
    payload: Payload,
}

#[repr(C)]
union Payload {
    whole: i64,
    text: [usize; 2],
}

#[export_name = "test:rusty/words@0.1.0#parse"]
unsafe extern "C" fn parse(at: *mut u8, size: usize) -> *const Parsed {
    let parsed = match given(at, size).parse::<i64>() {
        Ok(whole) => Parsed { failed: 0, payload: Payload { whole } },
        Err(error) => Parsed { failed: 1, payload: Payload { text: leaked(error.to_string().into_bytes()) } },
    };
    Box::leak(Box::new(parsed))
}

/// variant number: its case, then the payload as above.
#[export_name = "test:rusty/words@0.1.0#classify"]
unsafe extern "C" fn classify(some: i32, at: *mut u8, size: usize) -> *const Parsed {
    let made = if some == 0 {
        Parsed { failed: 0, payload: Payload { whole: 0 } }
    } else {
        let text = given(at, size);
        match text.parse::<i64>() {
            Ok(whole) => Parsed { failed: 1, payload: Payload { whole } },
            Err(_) => Parsed { failed: 2, payload: Payload { text: leaked(text.into_bytes()) } },
        }
    };
    Box::leak(Box::new(made))
}

#[export_name = "test:rusty/words@0.1.0#reverse"]
unsafe extern "C" fn reverse(at: *mut u8, size: usize) -> *const usize {
    let mut data = bytes(at, size);
    data.reverse();
    result(leaked(data))
}

#[export_name = "run"]
extern "C" fn run() -> i32 {
    42
}

/// Keeps a value and gives the one that was there before: result<option<string>, string>.
#[export_name = "remember"]
unsafe extern "C" fn remember(key: *mut u8, size: usize, value: *mut u8, value_size: usize) -> *const usize {
    let (key, value) = (given(key, size), given(value, value_size));
    let said = format!("remember {}", key);
    host_log(2, said.as_ptr(), said.len());
    let mut before = Answer::default();
    host_get(key.as_ptr(), key.len(), 0, std::ptr::null(), 0, &mut before);
    let mut kept = Answer::default();
    if before.failed == 0 {
        host_set(key.as_ptr(), key.len(), value.as_ptr(), value.len(), 0, std::ptr::null(), 0, &mut kept);
    }
    for answer in [&before, &kept] {
        if answer.failed != 0 {
            let [at, size] = leaked(answer.failure().into_bytes());
            return result([1, at, size, 0]);
        }
    }
    let [some, at, size, _] = before.words;
    result([0, some & 0xff, at, size])
}

#[export_name = "spin"]
extern "C" fn spin() {
    let one = 1u32;
    while unsafe { std::ptr::read_volatile(&one) } == 1 {}
}

#[export_name = "crash"]
extern "C" fn crash() {
    panic!("as asked");
}
