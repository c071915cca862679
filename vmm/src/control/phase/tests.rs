//! The phase function over every phase, move and guest event.

use super::*;

/// Those that a request makes.
const BEGINNINGS: usize = 9;

const MOVES: [Move; 12] = [
    Move::Create,
    Move::Boot,
    Move::Pause,
    Move::Resume,
    Move::Stop,
    Move::Delete,
    Move::Restore,
    Move::Leave,
    Move::Keep,
    Move::Doubt,
    Move::Done,
    Move::Failed,
];

#[test]
fn what_is_begun_can_end_and_what_is_not_cannot() {
    for phase in Phase::ALL {
        let passing = matches!(
            phase,
            Phase::Booting | Phase::Pausing | Phase::Stopping | Phase::Restoring | Phase::Leaving
        );
        assert_eq!(phase.next(Move::Done).is_some(), passing, "{phase:?}");
        let begun_by_a_request = MOVES[..BEGINNINGS].iter().any(|m| phase.next(*m).is_some());
        assert_eq!(begun_by_a_request, !passing, "{phase:?}");
    }
}

#[test]
fn from_every_phase_the_vm_can_be_got_rid_of() {
    for phase in Phase::ALL {
        let mut reached = std::collections::HashSet::from([phase]);
        loop {
            let more: Vec<_> = reached
                .iter()
                .flat_map(|p| MOVES.iter().filter_map(|m| p.next(*m)))
                .filter(|p| !reached.contains(p))
                .collect();
            if more.is_empty() {
                break;
            }
            reached.extend(more);
        }
        assert!(reached.contains(&Phase::NotCreated), "{phase:?} is a trap");
    }
}

#[test]
fn a_refusal_names_both_phases_and_changes_nothing() {
    let phase = AtomicPhase::new(Phase::Running);
    let error = phase.advance(Move::Resume).unwrap_err();
    assert_eq!(error.to_string(), "cannot resume a VM that is Running; it must be Paused");
    assert_eq!(phase.load(Ordering::Acquire), Phase::Running);
    let nothing = AtomicPhase::new(Phase::NotCreated);
    assert!(matches!(nothing.advance(Move::Pause), Err(ControlError::NotCreated)));
}

/// Where moves lead from a phase, if each is legal.
fn follow(from: Phase, moves: &[Move]) -> Option<Phase> {
    moves.iter().try_fold(from, |phase, step| phase.next(*step))
}

/// Phases in which the VM has vCPUs that a guest's event can come from.
fn has_guest(phase: Phase) -> bool {
    !matches!(phase, Phase::NotCreated | Phase::Created | Phase::Stopping | Phase::Shutdown)
}

#[test]
fn every_guest_event_has_a_legal_successor_in_every_phase() {
    for phase in Phase::ALL {
        for event in GuestEvent::ALL {
            let consequence = phase.after(event);
            let end = match consequence {
                Consequence::End => Some(Phase::Shutdown),
                Consequence::Restart => Some(Phase::Running),
                Consequence::Note | Consequence::Keep | Consequence::Void => Some(phase),
            };
            assert_eq!(follow(phase, consequence.moves()), end, "{phase:?} {event:?}");
            // Lost is what comes from no guest, and nothing else.
            assert_eq!(consequence == Consequence::Void, !has_guest(phase), "{phase:?} {event:?}");
        }
    }
}

#[test]
fn what_is_kept_is_carried_out_as_soon_as_the_vm_runs_and_void_when_it_is_gone() {
    for phase in Phase::ALL {
        for event in GuestEvent::ALL {
            if phase.after(event) != Consequence::Keep {
                continue;
            }
            // Whatever is done next leads to a phase that keeps it, too, carries it out, or has no guest.
            for step in MOVES {
                let Some(next) = phase.next(step) else { continue };
                let then = next.after(event);
                assert_ne!(then, Consequence::Note, "{phase:?} {step:?} {event:?}");
                assert_eq!(then == Consequence::Void, !has_guest(next), "{phase:?} {step:?}");
            }
            let carried_out = Phase::Running.after(event);
            assert!(!carried_out.moves().is_empty(), "{event:?} is kept for nothing");
            // And the VM can get there: nobody but the VM's user keeps it from running.
            let ways = [
                &[Move::Done][..],
                &[Move::Failed],
                &[Move::Resume],
                &[Move::Done, Move::Resume],
                &[Move::Failed, Move::Resume],
                &[Move::Keep, Move::Resume],
            ];
            let runs = |way: &&[Move]| follow(phase, way) == Some(Phase::Running);
            assert!(ways.iter().any(runs), "{phase:?} {event:?}");
        }
    }
}

#[test]
fn a_guest_that_runs_is_never_kept_waiting() {
    for event in GuestEvent::ALL {
        assert_ne!(Phase::Running.after(event), Consequence::Keep, "{event:?}");
    }
}

#[test]
fn a_vm_leaves_from_where_it_stands_and_goes_on_there_or_nowhere() {
    for phase in Phase::ALL {
        let leaves = phase.next(Move::Leave) == Some(Phase::Leaving);
        assert_eq!(leaves, matches!(phase, Phase::Running | Phase::Paused), "{phase:?}");
    }
    // Nothing but the end of the migration moves one that leaves.
    let moves = MOVES.into_iter().filter_map(|step| Some((step, Phase::Leaving.next(step)?)));
    let expected = [
        (Move::Doubt, Phase::Doubtful),
        (Move::Done, Phase::Stopping),
        (Move::Failed, Phase::Paused),
    ];
    assert_eq!(moves.collect::<Vec<_>>(), expected);
    // In doubt nothing but the operator's word does, and refusals say so.
    let moves = MOVES.into_iter().filter_map(|step| Some((step, Phase::Doubtful.next(step)?)));
    let expected = [(Move::Stop, Phase::Stopping), (Move::Keep, Phase::Paused)];
    assert_eq!(moves.collect::<Vec<_>>(), expected);
    let doubtful = AtomicPhase::new(Phase::Doubtful);
    assert!(matches!(doubtful.advance(Move::Resume), Err(ControlError::InDoubt)));
}

#[test]
fn a_vm_that_is_restored_stands_still_first_or_was_never_there() {
    assert_eq!(follow(Phase::NotCreated, &[Move::Restore, Move::Done]), Some(Phase::Paused));
    let failed = follow(Phase::NotCreated, &[Move::Restore, Move::Failed]);
    assert_eq!(failed, Some(Phase::NotCreated));
    for phase in Phase::ALL {
        let begins = phase.next(Move::Restore).is_some();
        assert_eq!(begins, phase == Phase::NotCreated, "{phase:?}");
    }
}
