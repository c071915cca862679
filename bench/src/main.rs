//! stub
mod cell; mod cycles; mod floor; mod pace; mod reference; mod stats;
fn main() {
    use cycles::Subject;
    for n in [1,8,64,254] { for g in cell::Guest::ALL { for w in [floor::WhileStopped::Ordinary, floor::WhileStopped::Batch] {
        let v = std::num::NonZeroU32::new(n).unwrap();
        let mut f = floor::Floor::start(v, g, w).unwrap();
        let load = cell::Load{vcpus:v, guest:g};
        let plan = cycles::Plan{cycles:50, storm:200, settle: std::time::Duration::from_millis(10)};
        let t=std::time::Instant::now();
        let s = cycles::paced(&mut f, load, plan).unwrap();
        let p = t.elapsed();
        let st = cycles::storm(&mut f, load, plan).unwrap();
        println!("{load} {w:?} ({p:?}, {:?})", t.elapsed()-p);
        for x in [s.pause,s.resume,st.pause,st.resume] { println!("   {:?}", stats::Summary::of(&x).unwrap()); }
    }}}
}
