//! A program of the Linux test guest that looks for as long as it runs whether the VM is what it was: registers, timers, clocks, system
//! calls. What is wrong it says on standard error, and ends with status 1.
//!
//! `witness ASK STOP`: whoever makes the file ASK finds it gone when every thread has gone on twice since; whoever makes STOP ends it. It
//! then says how often each thread has gone round. `witness now` says what time it is, in nanoseconds.
//!
//! | thread | what has to be true |
//! |---|---|
//! | registers (one a processor) | eight numbers on the x87 stack, its control word, MXCSR, the sixteen XMM or YMM registers are what was loaded, after a long loop and a system call |
//! | sleeper | a sleep is never too short, by the monotonic clock |
//! | ticker | a periodic timer has expired as often as its periods have passed: none too early, none lost |
//! | clocks | the monotonic clocks never go back, whichever thread on whichever processor looked last; the real time does not either |
//! | calls | system calls give what they have to: numbers, contents, errors |

use std::arch::asm;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NANOS: u64 = 1_000_000_000;
/// The ticker's period.
const PERIOD: u64 = 7_000_000;
const NAMES: [&str; 6] = ["registers0", "registers1", "sleeper", "ticker", "clocks", "calls"];

static STOP: AtomicBool = AtomicBool::new(false);
static ROUNDS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];
/// The latest time that anybody has seen, by clock.
static LATEST: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// clock_gettime(2): CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME.
const CLOCKS: [i32; 3] = [0, 1, 7];
const MONOTONIC: usize = 1;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
    fn timerfd_create(clock: i32, flags: i32) -> i32;
    fn timerfd_settime(fd: i32, flags: i32, new: *const [Timespec; 2], old: *mut u8) -> i32;
    fn pipe(fds: *mut [i32; 2]) -> i32;
    fn mmap(at: *mut u8, length: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn munmap(at: *mut u8, length: usize) -> i32;
    fn sched_setaffinity(pid: i32, size: usize, mask: *const u64) -> i32;
}

fn now(clock: usize) -> u64 {
    let mut time = Timespec::default();
    // SAFETY: the kernel writes one `timespec` to where there is one.
    let status = unsafe { clock_gettime(CLOCKS[clock], &raw mut time) };
    assert_eq!(status, 0, "clock_gettime");
    time.seconds as u64 * NANOS + time.nanos as u64
}

/// What is wrong, and the end.
fn wrong(what: &str) -> ! {
    eprintln!("wrong: {what}");
    std::process::exit(1);
}

/// Does a round over and over.
fn over(thread: usize, mut round: impl FnMut(u64)) {
    let mut count = 0;
    while !STOP.load(Ordering::Relaxed) {
        round(count);
        count += 1;
        ROUNDS[thread].store(count, Ordering::Release);
    }
}

/// What the registers hold in a round, and what they held at its end.
#[repr(C, align(64))]
#[derive(Clone, PartialEq)]
struct Registers {
    vectors: [[u64; 4]; 16],
    x87: [f64; 8],
    control: u16,
    mxcsr: u32,
}

impl Registers {
    fn of(seed: u64) -> Self {
        let mut word = seed | 1;
        let mut next = || {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word
        };
        Self {
            vectors: std::array::from_fn(|_| std::array::from_fn(|_| next())),
            x87: std::array::from_fn(|_| next() as f64 / 3.0),
            // All exceptions masked; one of the four roundings, one of two precisions.
            control: 0x027F | ((next() & 3) << 10) as u16 | ((next() & 1) << 8) as u16,
            // The same, of SSE.
            mxcsr: 0x1F80 | ((next() & 3) << 13) as u32,
        }
    }

    const fn nothing() -> Self {
        Self { vectors: [[0; 4]; 16], x87: [0.0; 8], control: 0, mxcsr: 0 }
    }
}

macro_rules! hold {
    ($load:literal, $store:literal, $reg:literal, $step:literal, $clean:literal, $given:expr, $held:expr, $spins:expr) => {
        // SAFETY: reads one and writes the other structure, by the offsets of their fields, and the state that it changes (the x87 stack
        // and its control word, MXCSR, the vector registers) is put back or named; `sched_yield` touches no memory.
        unsafe {
            asm!(
                "sub rsp, 16", "stmxcsr [rsp]", "fnstcw [rsp + 8]",
                "fninit", "fldcw [{given} + 576]", "ldmxcsr [{given} + 580]",
                "fld qword ptr [{given} + 512]", "fld qword ptr [{given} + 520]",
                "fld qword ptr [{given} + 528]", "fld qword ptr [{given} + 536]",
                "fld qword ptr [{given} + 544]", "fld qword ptr [{given} + 552]",
                "fld qword ptr [{given} + 560]", "fld qword ptr [{given} + 568]",
                concat!($load, " ", $reg, "0, [{given}]"), concat!($load, " ", $reg, "1, [{given} + 32]"),
                concat!($load, " ", $reg, "2, [{given} + 64]"), concat!($load, " ", $reg, "3, [{given} + 96]"),
                concat!($load, " ", $reg, "4, [{given} + 128]"), concat!($load, " ", $reg, "5, [{given} + 160]"),
                concat!($load, " ", $reg, "6, [{given} + 192]"), concat!($load, " ", $reg, "7, [{given} + 224]"),
                concat!($load, " ", $reg, "8, [{given} + 256]"), concat!($load, " ", $reg, "9, [{given} + 288]"),
                concat!($load, " ", $reg, "10, [{given} + 320]"), concat!($load, " ", $reg, "11, [{given} + 352]"),
                concat!($load, " ", $reg, "12, [{given} + 384]"), concat!($load, " ", $reg, "13, [{given} + 416]"),
                concat!($load, " ", $reg, "14, [{given} + 448]"), concat!($load, " ", $reg, "15, [{given} + 480]"),
                "2:", "dec {spins}", "jnz 2b",
                // sched_yield
                "mov eax, 24", "syscall",
                concat!($store, " [{held}], ", $reg, "0"), concat!($store, " [{held} + 32], ", $reg, "1"),
                concat!($store, " [{held} + 64], ", $reg, "2"), concat!($store, " [{held} + 96], ", $reg, "3"),
                concat!($store, " [{held} + 128], ", $reg, "4"), concat!($store, " [{held} + 160], ", $reg, "5"),
                concat!($store, " [{held} + 192], ", $reg, "6"), concat!($store, " [{held} + 224], ", $reg, "7"),
                concat!($store, " [{held} + 256], ", $reg, "8"), concat!($store, " [{held} + 288], ", $reg, "9"),
                concat!($store, " [{held} + 320], ", $reg, "10"), concat!($store, " [{held} + 352], ", $reg, "11"),
                concat!($store, " [{held} + 384], ", $reg, "12"), concat!($store, " [{held} + 416], ", $reg, "13"),
                concat!($store, " [{held} + 448], ", $reg, "14"), concat!($store, " [{held} + 480], ", $reg, "15"),
                "fstp qword ptr [{held} + 568]", "fstp qword ptr [{held} + 560]",
                "fstp qword ptr [{held} + 552]", "fstp qword ptr [{held} + 544]",
                "fstp qword ptr [{held} + 536]", "fstp qword ptr [{held} + 528]",
                "fstp qword ptr [{held} + 520]", "fstp qword ptr [{held} + 512]",
                "fnstcw [{held} + 576]", "stmxcsr [{held} + 580]",
                $clean,
                "fninit", "fldcw [rsp + 8]", "ldmxcsr [rsp]", "add rsp, 16",
                given = in(reg) $given, held = in(reg) $held, spins = inout(reg) $spins => _,
                out("rax") _, out("rcx") _, out("r11") _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _, out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            );
        }
    };
}

fn registers(thread: usize) {
    let mask = 1_u64 << thread;
    // SAFETY: reads eight bytes. Where there is one processor, the thread stays where it is.
    let _ = unsafe { sched_setaffinity(0, 8, &raw const mask) };
    let has_avx = std::arch::is_x86_feature_detected!("avx");
    over(thread, |round| {
        let mut given = Registers::of(round << 8 ^ (thread as u64 + 1) << 60);
        let mut held = Registers::nothing();
        let (from, to) = (&raw const given, &raw mut held);
        let spins = 20_000_u64;
        if has_avx {
            hold!("vmovups", "vmovups", "ymm", 32, "vzeroupper", from, to, spins);
        } else {
            hold!("movups", "movups", "xmm", 32, "", from, to, spins);
            given.vectors.iter_mut().for_each(|vector| vector[2..].fill(0));
        }
        // A store of a double rounds by the precision of the control word at most as the load did: the numbers are doubles.
        held.x87.iter().zip(&given.x87).for_each(|(held, given)| {
            if held.to_bits() != given.to_bits() {
                wrong(&format!("x87 {held} {given}"));
            }
        });
        if held.vectors != given.vectors {
            wrong(&format!("vectors {:x?} {:x?}", held.vectors, given.vectors));
        }
        if (held.control, held.mxcsr & !0x3F) != (given.control, given.mxcsr) {
            wrong(&format!("control words {:x} {:x}", held.control, held.mxcsr));
        }
        // Others have work to do, too.
        std::thread::sleep(Duration::from_millis(3));
    });
}

fn sleeper() {
    over(2, |round| {
        let asked = Duration::from_micros(100 + round * 7919 % 20_000);
        let (begun, by_std) = (now(MONOTONIC), Instant::now());
        std::thread::sleep(asked);
        let slept = now(MONOTONIC) - begun;
        if u128::from(slept) < asked.as_nanos() || by_std.elapsed() < asked {
            wrong(&format!("slept {slept} ns instead of {asked:?}"));
        }
    });
}

fn ticker() {
    // SAFETY: makes a descriptor, CLOCK_MONOTONIC.
    let fd = unsafe { timerfd_create(1, 0) };
    assert!(fd >= 0, "timerfd_create");
    // SAFETY: it is this function's own.
    let mut timer = unsafe { File::from_raw_fd(fd) };
    let begun = now(MONOTONIC);
    let of = |nanos: u64| Timespec { seconds: (nanos / NANOS) as i64, nanos: (nanos % NANOS) as i64 };
    let times = [of(PERIOD), of(begun + PERIOD)];
    // SAFETY: reads two `timespec`s. 1: TFD_TIMER_ABSTIME.
    let status = unsafe { timerfd_settime(fd, 1, &raw const times, std::ptr::null_mut()) };
    assert_eq!(status, 0, "timerfd_settime");
    let mut expired = 0;
    over(3, |_| {
        let mut count = [0; 8];
        let before = (now(MONOTONIC) - begun) / PERIOD;
        timer.read_exact(&mut count).expect("the timer's count");
        expired += u64::from_ne_bytes(count);
        let after = (now(MONOTONIC) - begun) / PERIOD;
        if !(before..=after).contains(&expired) {
            wrong(&format!("the timer has expired {expired} times in {before} to {after} periods"));
        }
    });
}

fn clocks() {
    over(4, |_| {
        for _ in 0..1000 {
            look_at_clocks();
        }
        std::thread::sleep(Duration::from_millis(1));
    });
}

/// Everybody looks at these clocks, on whatever processor.
fn look_at_clocks() {
    for clock in 0..CLOCKS.len() {
        let latest = LATEST[clock].load(Ordering::Acquire);
        let time = now(clock);
        if time < latest {
            wrong(&format!("clock {} goes back from {latest} to {time}", CLOCKS[clock]));
        }
        LATEST[clock].fetch_max(time, Ordering::AcqRel);
    }
}

fn calls() {
    let path = "/tmp/witness.file";
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path).expect("file");
    let pid = std::process::id();
    over(5, |round| {
        look_at_clocks();
        let pattern: Vec<u8> = (0..4096_u64).map(|at| (at * 31 + round) as u8).collect();
        let mut back = vec![0; pattern.len()];
        let mut fds = [0; 2];
        // SAFETY: the kernel writes two descriptors to where there is room for them.
        assert_eq!(unsafe { pipe(&raw mut fds) }, 0, "pipe");
        // SAFETY: they are this round's own.
        let [mut reader, mut writer] = fds.map(|fd| File::from(unsafe { OwnedFd::from_raw_fd(fd) }));
        writer.write_all(&pattern).expect("written to a pipe");
        reader.read_exact(&mut back).expect("read from it");
        let is_same = back == pattern;
        back.fill(0);
        let at = round % 64 * 4096;
        file.seek(SeekFrom::Start(at)).expect("seek");
        file.write_all(&pattern).expect("written");
        let end = file.seek(SeekFrom::Start(at)).expect("seek");
        file.read_exact(&mut back).expect("read");
        if !is_same || end != at || back != pattern {
            wrong("a pipe's or a file's contents");
        }
        let missing = File::open("/nowhere/at/all").map_err(|error| error.raw_os_error());
        if missing.err() != Some(Some(2)) || std::process::id() != pid {
            wrong("an error's or a process's number");
        }
        // SAFETY: a fresh private mapping (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS), used within its length, and unmapped.
        unsafe {
            let length = 1 << 16;
            let memory = mmap(std::ptr::null_mut(), length, 3, 0x22, -1, 0);
            assert!(!memory.is_null() && memory.addr() != usize::MAX, "mmap");
            let bytes = std::slice::from_raw_parts_mut(memory, length);
            if bytes.iter().any(|byte| *byte != 0) {
                wrong("new memory is not zero");
            }
            bytes.fill(round as u8);
            assert_eq!(munmap(memory, length), 0, "munmap");
        }
        std::thread::sleep(Duration::from_millis(2));
    });
}

fn rounds() -> Vec<u64> {
    ROUNDS.iter().map(|rounds| rounds.load(Ordering::Acquire)).collect()
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, ask, stop] = words.as_slice() else {
        println!("SP now={}", now(0));
        return;
    };
    let threads: [fn(); 6] = [|| registers(0), || registers(1), sleeper, ticker, clocks, calls];
    let threads: Vec<_> = threads.into_iter().map(std::thread::spawn).collect();
    let mut asked = None;
    while !Path::new(stop).exists() {
        if threads.iter().any(std::thread::JoinHandle::is_finished) {
            wrong("a thread has ended");
        }
        if asked.is_none() && Path::new(ask).exists() {
            asked = Some(rounds());
        }
        if let Some(then) = &asked
            && rounds().iter().zip(then).all(|(now, then)| *now >= then + 2)
        {
            asked = None;
            std::fs::remove_file(ask).expect("it is there");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    STOP.store(true, Ordering::Relaxed);
    for thread in threads {
        if thread.join().is_err() {
            wrong("a thread has panicked");
        }
    }
    for (name, rounds) in NAMES.iter().zip(rounds()) {
        println!("SP {name}={rounds}");
    }
    println!("SP vectors={}", if std::arch::is_x86_feature_detected!("avx") { "ymm" } else { "xmm" });
}
