;; Keeps a processor busy for about a third of a second and asks for nothing: multiplies two 256 × 256 matrices of doubles
;; six times, then sieves the primes below eight million. For measuring what surrounds a guest.
(module
  ;; 0 a, 524288 b, 1048576 c, 2097152 sieve.
  (memory (export "memory") 160)

  (func $cell (param $matrix i32) (param $row i32) (param $column i32) (result i32)
    (i32.add (local.get $matrix)
      (i32.shl (i32.add (i32.shl (local.get $row) (i32.const 8)) (local.get $column)) (i32.const 3))))

  (func $fill
    (local $at i32)
    (loop $next
      (f64.store (local.get $at)
        (f64.div (f64.convert_i32_u (i32.and (local.get $at) (i32.const 1016))) (f64.const 1024)))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 1048576)))))

  ;; c = a × b
  (func $multiply
    (local $i i32) (local $j i32) (local $k i32) (local $sum f64)
    (loop $rows
      (local.set $j (i32.const 0))
      (loop $columns
        (local.set $k (i32.const 0))
        (local.set $sum (f64.const 0))
        (loop $products
          (local.set $sum (f64.add (local.get $sum) (f64.mul
            (f64.load (call $cell (i32.const 0) (local.get $i) (local.get $k)))
            (f64.load (call $cell (i32.const 524288) (local.get $k) (local.get $j))))))
          (local.set $k (i32.add (local.get $k) (i32.const 1)))
          (br_if $products (i32.lt_u (local.get $k) (i32.const 256))))
        (f64.store (call $cell (i32.const 1048576) (local.get $i) (local.get $j)) (local.get $sum))
        (local.set $j (i32.add (local.get $j) (i32.const 1)))
        (br_if $columns (i32.lt_u (local.get $j) (i32.const 256))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $rows (i32.lt_u (local.get $i) (i32.const 256)))))

  (func $sieve
    (local $prime i32) (local $multiple i32)
    (local.set $prime (i32.const 2))
    (loop $primes
      (if (i32.eqz (i32.load8_u (i32.add (i32.const 2097152) (local.get $prime))))
        (then
          (local.set $multiple (i32.mul (local.get $prime) (local.get $prime)))
          (loop $multiples
            (if (i32.lt_u (local.get $multiple) (i32.const 8000000))
              (then
                (i32.store8 (i32.add (i32.const 2097152) (local.get $multiple)) (i32.const 1))
                (local.set $multiple (i32.add (local.get $multiple) (local.get $prime)))
                (br $multiples))))))
      (local.set $prime (i32.add (local.get $prime) (i32.const 1)))
      (br_if $primes (i32.lt_u (local.get $prime) (i32.const 2829)))))

  (func (export "_start")
    (local $turn i32)
    (call $fill)
    (loop $again
      (call $multiply)
      (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $turn) (i32.const 6))))
    (call $sieve)))
