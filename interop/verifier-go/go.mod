module samovar/interop/verifier-go

go 1.26.0

require (
	filippo.io/edwards25519 v1.2.0 // small order and canonical form of points, which crypto/ed25519 does not look at
	github.com/BurntSushi/toml v1.6.0 // network files
	github.com/consensys/gnark-crypto v0.21.0 // BLS12-381
)

require (
	github.com/bits-and-blooms/bitset v1.24.6 // indirect
	golang.org/x/sys v0.47.0 // indirect
)
