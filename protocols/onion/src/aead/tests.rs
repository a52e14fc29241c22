//! Units of the seam: both backends against each other and against NIST's vectors.

#![allow(clippy::unwrap_used)]

use super::*;

#[cfg(feature = "aws-lc")]
fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + len) as u8).collect()
}

#[cfg(feature = "aws-lc")]
#[test]
fn backends_give_the_same_bytes() {
    for len in [0, 1, 15, 16, 17, 20, 104, 1007, 4079, 16367, 16383] {
        let key = [len as u8 ^ 0x5a; 32];
        let nonce = [3; 12];
        let iv = [9; 16];
        let (mut a, mut b) = (text(len), text(len));
        let (fast, slow) = (
            <aws::AesGcm as Gcm>::new(&key),
            <pure::AesGcm as Gcm>::new(&key),
        );
        let tag = fast.seal(&nonce, &mut a);
        assert_eq!(tag, slow.seal(&nonce, &mut b));
        assert_eq!(a, b);
        assert!(slow.open(&nonce, &tag, &mut a));
        assert!(fast.open(&nonce, &tag, &mut b));
        assert_eq!((&a, &b), (&text(len), &text(len)));
        let mut wrong = tag;
        wrong[5] ^= 1;
        assert!(!fast.open(&nonce, &wrong, &mut a.clone()));
        assert!(!slow.open(&nonce, &wrong, &mut a.clone()));

        <aws::AesCtr as Ctr>::new(&key).apply(&iv, &mut a);
        <pure::AesCtr as Ctr>::new(&key).apply(&iv, &mut b);
        assert_eq!(a, b);
    }
}

/// NIST SP 800-38D test case 14 (AES-256, zero key, zero nonce, one zero block).
#[test]
fn gcm_is_gcm() {
    let key = GcmKey::new(&[0; 32]);
    let mut sealed = [0; 32];
    key.seal(0, &mut sealed);
    assert_eq!(
        sealed[..16],
        *b"\xd0\xd1\xc8\xa7\x99\x99\x6b\xf0\x26\x5b\x98\xb5\xd4\x8a\xb9\x19"
    );
    assert_eq!(
        sealed[16..],
        *b"\xce\xa7\x40\x3d\x4d\x60\x6b\x6e\x07\x4e\xc5\xd3\xba\xf3\x9d\x18"
    );
    key.open(0, &mut sealed).unwrap();
    assert_eq!(sealed[16..], [0; 16]);
}

#[test]
fn counter_mode_from_block_two_is_the_stream_of_gcm() {
    let mut sealed = [0; 16 + 104];
    GcmKey::new(&[4; 32]).seal(77, &mut sealed);
    let mut stream = [0; 104];
    CtrKey::new(&[4; 32]).apply(Purpose::Undo, 77, GCM_FIRST_BLOCK, &mut stream);
    assert_eq!(sealed[16..], stream);
}

#[test]
fn key_streams_of_neighbouring_messages_do_not_overlap() {
    let key = CtrKey::new(&[1; 32]);
    let (mut a, mut b) = ([0; 16384], [0; 16384]);
    key.apply(Purpose::Undo, 0, 0, &mut a);
    key.apply(Purpose::Undo, 1, 0, &mut b);
    assert!(a.chunks(16).all(|x| b.chunks(16).all(|y| x != y)));
}

#[test]
fn counter_refuses_to_wrap() {
    let mut counter = Counter::at(MESSAGES_PER_KEY - 1);
    assert_eq!(counter.next(), Ok(MESSAGES_PER_KEY - 1));
    assert_eq!(counter.next(), Err(CellError::Exhausted));
    assert_eq!(counter.peek(), Err(CellError::Exhausted));
}

#[test]
fn short_input_is_not_authentic() {
    assert_eq!(
        GcmKey::new(&[0; 32]).open(0, &mut [0; 15]),
        Err(CellError::Authentication)
    );
}

#[test]
fn overlaps_are_seen() {
    record::start();
    GcmKey::new(&[8; 32]).seal(0, &mut [0; 20]);
    CtrKey::new(&[8; 32]).apply(Purpose::Encrypt, 0, 2, &mut [0; 1]);
    assert!(record::overlap(record::stop()).is_some());
    record::start();
    GcmKey::new(&[8; 32]).seal(0, &mut [0; 20]);
    CtrKey::new(&[8; 32]).apply(Purpose::Encrypt, 0, 3, &mut [0; 1]);
    assert!(record::overlap(record::stop()).is_none());
}
