;; Prints each argument on a line of its own; then, if /data/input exists, counts its bytes and prints the number.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;; 0 number of arguments, 4 bytes of arguments, 8 one vector, 16 bytes moved, 20 descriptor, 32 path, 64 digits,
  ;; 1024 pointers to arguments, 16384 arguments, 131072 buffer.
  (memory (export "memory") 4)
  (data (i32.const 32) "input")

  (func $check (param $errno i32)
    (if (local.get $errno) (then (call $proc_exit (local.get $errno)) unreachable)))

  (func $print (param $at i32) (param $bytes i32)
    (i32.store (i32.const 8) (local.get $at))
    (i32.store (i32.const 12) (local.get $bytes))
    (call $check (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16))))

  ;; Prints the arguments after the program's name; their final NULs become line ends.
  (func $print_arguments
    (local $at i32) (local $start i32) (local $end i32)
    (call $check (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (call $check (call $args_get (i32.const 1024) (i32.const 16384)))
    (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 2)) (then (return)))
    (local.set $start (i32.load (i32.const 1028)))
    (local.set $end (i32.add (i32.const 16384) (i32.load (i32.const 4))))
    (local.set $at (local.get $start))
    (loop $next
      (if (i32.eqz (i32.load8_u (local.get $at)))
        (then (i32.store8 (local.get $at) (i32.const 10))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (call $print (local.get $start) (i32.sub (local.get $end) (local.get $start))))

  (func $count (param $descriptor i32) (result i64)
    (local $total i64)
    (loop $next
      (i32.store (i32.const 8) (i32.const 131072))
      (i32.store (i32.const 12) (i32.const 65536))
      (call $check (call $fd_read (local.get $descriptor) (i32.const 8) (i32.const 1) (i32.const 16)))
      (local.set $total (i64.add (local.get $total) (i64.load32_u (i32.const 16))))
      (br_if $next (i32.load (i32.const 16))))
    (local.get $total))

  (func $print_number (param $number i64)
    (local $at i32)
    (local.set $at (i32.const 95))
    (i32.store8 (local.get $at) (i32.const 10))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10)))))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $next (i64.ne (local.get $number) (i64.const 0))))
    (call $print (local.get $at) (i32.sub (i32.const 96) (local.get $at))))

  (func (export "_start")
    (call $print_arguments)
    ;; Descriptor 3 is /data; right 2 is to read.
    (if (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 5) (i32.const 0)
          (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 20)))
      (then (call $print_number (call $count (i32.load (i32.const 20))))))))
