//! Disks that are passed with the memory: all of them, whole, each under its name; whatever a source says about them.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use migration::engine::{Adoption, AdoptionError, Extent, MigrationError, Sent, receive};
use migration::wire::{
    Capabilities, Connection, DiskFile, MAX_PASSED, Message, Part, Passed, Session,
};
use proptest::prelude::*;

use crate::bed::{Setup, layout, migrate};
use crate::guest::Guest;
use crate::model::{CONFIG, DISKS, Destination, Source, Trouble, file_of};
use crate::verdict::How;
use crate::world::World;

#[test]
fn every_file_of_every_disk_comes_under_its_name() {
    let setup = Setup { local: true, ..Setup::new() };
    let ended = migrate(&setup);
    assert_eq!(ended.check(&setup), How::Completed);
    assert_eq!(ended.source.passed, Some(Extent::MemoryAndDisks));
    let disks = ended.destination.adoption.and_then(|adoption| adoption.disks);
    let disks = disks.expect("they were passed");
    let came = disks.iter().map(|(id, files)| (id.as_str(), files.backing.len()));
    assert!(came.eq(DISKS.iter().map(|(id, backing)| (*id, usize::from(*backing)))));
    assert!(disks.values().all(|files| files.direct.is_none() != files.backing.is_empty()));
}

/// What the source sends to a destination that has these capabilities.
fn parts_for(capabilities: Capabilities) -> Vec<Part> {
    let setup = Setup::new();
    let guest = Guest::new(&layout(), setup.program);
    let mut source = Source::new(&Arc::new(World::default()), guest, setup.phase, Trouble::None);
    let (here, there) = UnixStream::pair().expect("the host has sockets");
    let handle = Arc::clone(source.handle());
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut peer = Connection::new(there, setup.options.patience);
            peer.message("Hello").expect("it comes");
            peer.send(Message::Welcome { version: 1, capabilities }).expect("it goes");
            let Message::Adopt { parts } = peer.message("Adopt").expect("it comes") else {
                panic!("something else came")
            };
            parts
        });
        let sent = migration::engine::send_local(&mut source, here, &setup.options, &handle);
        assert!(matches!(sent, Sent::Restored(_)), "the other end has gone");
        asked.join().expect("it was asked")
    })
}

#[test]
fn a_destination_that_takes_over_memory_alone_gets_no_more() {
    assert_eq!(parts_for(Capabilities(0b111)), [Part::Memory]);
    assert_eq!(parts_for(Capabilities(0b1111)).len(), 1 + 2 + 3 + 2);
}

fn part(id: &str, file: DiskFile) -> Part {
    Part::Disk { id: id.to_owned(), file }
}

/// What an honest source passes.
fn all() -> Vec<Part> {
    let mut parts = vec![Part::Memory];
    for (id, backing) in DISKS {
        parts.push(part(id, DiskFile::Image));
        parts.extend((0..backing).map(|place| part(id, DiskFile::Backing(place))));
    }
    parts
}

fn text(part: &Part) -> String {
    match part {
        Part::Memory => "memory".to_owned(),
        Part::Disk { id, file: DiskFile::Image } => format!("{id} image"),
        Part::Disk { id, file: DiskFile::Direct } => format!("{id} direct"),
        Part::Disk { id, file: DiskFile::Backing(place) } => format!("{id} backing {place}"),
    }
}

fn with_files(parts: &[Part]) -> Vec<Passed> {
    let file = |part| file_of(&text(part)).expect("the host has files");
    parts.iter().map(|part| Passed { part: part.clone(), file: file(part) }).collect()
}

/// What a destination says to a source of these capabilities that passes this, and then describes the VM and goes away.
fn told(capabilities: Capabilities, passed: &[Passed]) -> String {
    let patience = Setup::new().options.patience;
    let world = Arc::new(World::default());
    let mut destination = Destination::new(&world, &layout(), Trouble::None);
    let (here, there) = UnixStream::pair().expect("the host has sockets");
    let error = thread::scope(|scope| {
        scope.spawn(move || {
            let mut source = Connection::new(here, patience);
            let hello = Message::Hello {
                min_version: 1,
                max_version: 1,
                session: Session([1; 16]),
                capabilities,
                connections: 1,
            };
            source.send(hello).expect("it goes");
            source.message("Welcome").expect("it comes");
            // The destination may have refused before.
            let _ = source.pass(passed);
            let regions = layout().regions().to_vec();
            let _ = source.send(Message::Describe { regions, config: CONFIG.to_vec() });
            // Built, or Refused.
            let _ = source.message("Built");
        });
        let mut there = Some(there);
        let accept = || there.take().ok_or_else(|| std::io::ErrorKind::NotConnected.into());
        receive(&mut destination, accept, patience).expect_err("it is no VM").to_string()
    });
    assert!(destination.is_discarded && destination.started.is_none());
    error
}

/// Where everything was in order: the source has gone away.
const WENT_ON: &str = "closed";

#[test]
fn what_is_missing_doubled_unknown_or_mixed_up_is_told_with_the_disk() {
    let without = |gone: Part| all().into_iter().filter(|one| *one != gone).collect::<Vec<_>>();
    let with = |more: &[Part]| [all(), more.to_vec()].concat();
    for (parts, expected) in [
        (without(part("data", DiskFile::Image)), r#"disk "data": its image was not passed"#),
        (without(part("root", DiskFile::Image)), r#"disk "root": its image was not passed"#),
        (
            without(part("root", DiskFile::Backing(0))),
            r#"disk "root": its backing file 0 was not passed"#,
        ),
        (with(&[part("swap", DiskFile::Image)]), r#"disk "swap": its image was passed twice"#),
        (
            with(&[part("root", DiskFile::Backing(1))]),
            r#"disk "root": its backing file 1 was passed twice"#,
        ),
        (
            with(&[part("data", DiskFile::Direct), part("data", DiskFile::Direct)]),
            r#"disk "data": its image for direct I/O was passed twice"#,
        ),
        (with(&[part("b\no", DiskFile::Image)]), r#"disk "b\no" was passed, which the VM does"#),
        (without(Part::Memory), "0 memories"),
        (with(&[Part::Memory]), "2 memories"),
        (vec![Part::Memory], r#"disk "data": its image was not passed"#),
    ] {
        let error = told(Capabilities::ALL, &with_files(&parts));
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // Names in any order, as long as each has its file.
    let mut backwards = all();
    backwards.reverse();
    let error = told(Capabilities::ALL, &with_files(&backwards));
    assert!(error.contains(WENT_ON), "{error}");
    // Files in another order than their names.
    let mut mixed = with_files(&all());
    let files: Vec<OwnedFd> = with_files(&backwards).into_iter().map(|one| one.file).collect();
    mixed.iter_mut().zip(files).for_each(|(one, file)| one.file = file);
    let error = told(Capabilities::ALL, &mixed);
    assert!(error.contains("memory is swap image"), "{error}");
}

#[test]
fn disks_that_were_not_agreed_upon_are_refused_and_too_many_files_not_sent() {
    let error = told(Capabilities(0b111), &with_files(&all()));
    assert!(
        error.contains(r#"disk "data" was passed, and disks are to be opened anew"#),
        "{error}"
    );
    let error = told(Capabilities(0b111), &with_files(&[Part::Memory]));
    assert!(error.contains(WENT_ON), "{error}");

    let setup = Setup { local: true, ..Setup::new() };
    let mut many = setup.clone();
    many.more_disks = MAX_PASSED;
    let ended = migrate(&many);
    assert_eq!(ended.check(&many), How::Restored);
    let Sent::Restored(error) = ended.sent else { panic!("it is here") };
    assert!(matches!(error, MigrationError::TooManyFiles(72)), "{error}");
}

/// Any part.
fn parts() -> impl Strategy<Value = Vec<Part>> {
    let file = prop_oneof![
        4 => Just(DiskFile::Image),
        1 => Just(DiskFile::Direct),
        2 => (0_u8..3).prop_map(DiskFile::Backing),
    ];
    let disk = (prop_oneof!["a", "b"], file).prop_map(|(id, file)| part(&id, file));
    proptest::collection::vec(prop_oneof![1 => Just(Part::Memory), 5 => disk], 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What is accepted has every part in its place; what is not has something missing or twice.
    #[test]
    fn nothing_is_accepted_that_is_not_whole_and_nothing_is_lost(parts in parts()) {
        let count = |one: &Part| parts.iter().filter(|part| *part == one).count();
        let is_disk = |id: &str| parts.iter().any(|part| matches!(part, Part::Disk { id: of, .. } if of == id));
        let gap = |id: &str| {
            let below = |place: u8| count(&part(id, DiskFile::Backing(place))) == 0;
            (1..3).any(|place| !below(place) && below(place - 1))
        };
        let is_whole = |id: &str| !is_disk(id) || (count(&part(id, DiskFile::Image)) == 1 && !gap(id));
        let is_once = parts.iter().all(|one| count(one) == 1);
        let fits = count(&Part::Memory) == 1 && is_once && is_whole("a") && is_whole("b");
        let adoption = Adoption::of(with_files(&parts), Extent::MemoryAndDisks);
        prop_assert_eq!(adoption.is_ok(), fits, "{:?}", adoption);
        if let Ok(adoption) = adoption {
            let disks = adoption.disks.as_ref().expect("they are passed");
            let files: usize = disks.values().map(|disk| 1 + usize::from(disk.direct.is_some()) + disk.backing.len()).sum();
            prop_assert_eq!(1 + files, parts.len());
            let here = disks.keys().map(String::as_str);
            prop_assert!(adoption.for_disks(here.clone()).is_ok());
            let more = here.clone().chain(["c"]);
            prop_assert_eq!(
                adoption.for_disks(more),
                Err(AdoptionError::Missing { id: "c".to_owned(), file: DiskFile::Image })
            );
            if let Some(last) = here.clone().next_back() {
                let all_but_it = here.take(disks.len() - 1);
                prop_assert_eq!(adoption.for_disks(all_but_it), Err(AdoptionError::Unknown(last.to_owned())));
            }
        }
    }
}
