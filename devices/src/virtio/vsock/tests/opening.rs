//! How connections begin.

use super::*;

#[test]
fn the_guest_connects_and_data_goes_both_ways() {
    let mut bed = Bed::new();
    let key = key(1024, 7);
    let mut host = bed.connected(key);
    bed.guest.say(key, Op::Data, 0, b"hello host");
    host.write_all(b"hello guest").unwrap();
    assert_eq!(read_now(&mut host), (b"hello host".to_vec(), false));
    let (header, payload) = bed.guest.hear_one();
    assert_eq!(payload, b"hello guest");
    let expected = Header {
        src_cid: HOST_CID,
        dst_cid: CID.into(),
        src_port: 1024,
        dst_port: 7,
        len: 11,
        kind: TYPE_STREAM,
        op: Op::Data as u16,
        flags: 0,
        buf_alloc: BUF_ALLOC,
        fwd_cnt: 10,
    };
    assert_eq!(header, expected);
    assert_eq!([bed.counter("bytes_from_guest"), bed.counter("bytes_to_guest")], [10, 11]);
    assert_eq!(bed.counter("connections"), 1);
}

#[test]
fn a_port_on_which_nobody_listens_is_refused() {
    let mut bed = Bed::new();
    bed.guest.say(key(5, 6), Op::Request, 0, &[]);
    let (header, _) = bed.guest.hear_one();
    assert_eq!((header.op, header.key_of_host()), (Op::Reset as u16, key(5, 6)));
    assert_eq!(bed.counter("refused"), 1);
}

#[test]
fn a_client_of_the_host_connects_and_is_told_its_port() {
    let mut bed = Bed::new();
    let mut client = bed.client(22);
    // What comes right behind the greeting is for the guest.
    client.write_all(b"early").unwrap();
    bed.guest.step();
    let (request, _) = bed.guest.hear_one();
    assert_eq!((request.op, request.dst_port), (Op::Request as u16, 22));
    assert_eq!(
        read_now(&mut client),
        (vec![], false),
        "it is told nothing before the guest agrees"
    );
    let key = request.key_of_host();
    bed.guest.say(key, Op::Response, 0, &[]);
    let ok = format!("OK {}\n", key.host_port);
    assert_eq!(read_now(&mut client), (ok.into_bytes(), false));
    assert_eq!(bed.guest.hear_one().1, b"early");
    bed.guest.say(key, Op::Data, 0, b"welcome");
    assert_eq!(read_now(&mut client), (b"welcome".to_vec(), false));
    assert_eq!(bed.counter("connections"), 1);
}

#[test]
fn clients_of_one_port_have_ports_of_their_own() {
    let mut bed = Bed::new();
    let _clients = [bed.client(22), bed.client(22)];
    bed.guest.step();
    let heard = bed.guest.hear_all();
    assert_eq!(heard.len(), 2);
    assert_ne!(heard[0].0.src_port, heard[1].0.src_port);
}

#[test]
fn a_client_that_the_guest_refuses_is_let_go_without_a_word() {
    let mut bed = Bed::new();
    let mut client = bed.client(22);
    bed.guest.step();
    let key = bed.guest.hear_one().0.key_of_host();
    bed.guest.say(key, Op::Reset, 0, &[]);
    assert_eq!(read_now(&mut client), (vec![], true));
    assert_eq!(bed.guest.hear_all(), []);
}

#[test]
fn of_a_client_that_goes_before_the_answer_the_guest_is_told() {
    let mut bed = Bed::new();
    let client = bed.client(22);
    bed.guest.step();
    let key = bed.guest.hear_one().0.key_of_host();
    drop(client);
    bed.guest.step();
    assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)]);
    // An answer that crossed it belongs nowhere.
    bed.guest.say(key, Op::Response, 0, &[]);
    assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)]);
}

#[test]
fn a_client_that_says_something_else_is_let_go() {
    let mut bed = Bed::new();
    let mut client = UnixStream::connect(bed.vsock.path()).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    bed.guest.step();
    // It did not have to read what was not for it.
    let error = client.read_to_end(&mut Vec::new());
    assert!(error.is_ok_and(|len| len == 0));
    let gone = UnixStream::connect(bed.vsock.path()).unwrap();
    drop(gone);
    bed.guest.step();
    assert_eq!(bed.counter("bad_greetings"), 2);
    assert_eq!(bed.guest.hear_all(), []);
}

#[test]
fn what_cannot_be_bound_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm");
    for cid in [0, 1, 2, u32::MAX] {
        let error = Vsock::bind("vsock0", cid, &path).err().unwrap().to_string();
        assert!(error.contains(&cid.to_string()), "{error}");
    }
    let long = folder.path().join("x".repeat(100));
    let error = Vsock::bind("vsock0", 3, &long).err().unwrap().to_string();
    assert!(error.contains("at most 107, so 96 for itself"), "{error}");
    let _taken = Vsock::bind("vsock0", 3, &path).unwrap();
    let error = Vsock::bind("vsock0", 4, &path).err().unwrap().to_string();
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn the_configuration_is_the_guests_context_id() {
    let bed = Bed::new();
    let mut data = [0xAA; 10];
    bed.vsock.read_config(0, &mut data);
    assert_eq!(data, [42, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bed.vsock.read_config(u64::MAX, &mut data[..1]);
    assert_eq!(data[0], 0);
}

#[test]
fn a_reset_ends_connections_and_lets_clients_wait() {
    let mut bed = Bed::new();
    let mut host = bed.connected(key(1024, 7));
    let Bed { folder, vsock, guest } = bed;
    drop(guest);
    assert_eq!(read_now(&mut host), (vec![], true));
    let mut client = UnixStream::connect(vsock.path()).unwrap();
    client.write_all(b"CONNECT 22\n").unwrap();
    let guest = Guest::of(&vsock);
    let mut bed = Bed { folder, vsock, guest };
    bed.guest.step();
    assert_eq!(bed.guest.hear_ops(), [(Op::Request as u16, 0)]);
}
