mod device;
mod threads;
mod transition;
