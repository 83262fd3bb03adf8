// The other formats that docs/spec says are enough to implement: sealed objects, custody, evidence. What these tests do is
// what object.md, custody.md and evidence.md say, against the vectors there.

package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"
	"testing"
)

// hexBytes is a byte string that stands in JSON as hexadecimal digits.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func hkdfKey(t *testing.T, secret, salt []byte, info string) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, secret, salt, info, 32)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

type objectVector struct {
	PlaintextBytes int      `json:"plaintext_bytes"`
	ContentKey     hexBytes `json:"content_key"`
	LeafKey        hexBytes `json:"leaf_key"`
	Seal           struct {
		Suite         string   `json:"suite"`
		Salt          hexBytes `json:"salt"`
		KeyCommitment hexBytes `json:"key_commitment"`
		ChunkBytes    int64    `json:"chunk_bytes"`
		Chunks        uint64   `json:"chunks"`
		PlaintextRoot hexBytes `json:"plaintext_root"`
		SealedMeta    hexBytes `json:"sealed_meta"`
	} `json:"seal"`
	CoreDigest       hexBytes   `json:"core_digest"`
	Leaves           hexBytes   `json:"leaves"`
	LeafDigests      []hexBytes `json:"leaf_digests"`
	CiphertextBytes  int        `json:"ciphertext_bytes"`
	CiphertextSHA256 hexBytes   `json:"ciphertext_sha256"`
	ChunkSHA256      []hexBytes `json:"chunk_sha256"`
}

// sealChunks encrypts as STREAM does.
func sealChunks(t *testing.T, key, plaintext, associated []byte) (chunks [][]byte) {
	t.Helper()
	aead := aesGCM(t, key)
	pieces := slices.Collect(slices.Chunk(plaintext, chunkBytes))
	for i, piece := range pieces {
		nonce := slices.Concat(make([]byte, 7), u32(uint32(i)), []byte{0})
		if i == len(pieces)-1 {
			nonce[11] = 1
		}
		chunks = append(chunks, aead.Seal(nil, nonce, piece, associated))
	}
	return chunks
}

func aesGCM(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

func TestSealedObjects(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(vectors, "object", "*.json"))
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d vectors, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var v objectVector
			readJSON(t, filepath.Join("object", filepath.Base(path)), &v)
			checkObjectVector(t, v)
		})
	}
}

func checkObjectVector(t *testing.T, v objectVector) {
	equal := func(what string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %x, not %x", what, got, want)
		}
	}
	plaintext := make([]byte, v.PlaintextBytes)
	for i := range plaintext {
		plaintext[i] = byte(i % 251)
	}
	salt := []byte(v.Seal.Salt)
	commitment := hkdfKey(t, v.ContentKey, salt, "samovar/v1/kc")
	equal("key commitment", commitment, v.Seal.KeyCommitment)
	core := appendHead(nil, majorMap, 4)
	core = appendBytes(appendText(core, "salt"), salt)
	core = appendText(appendText(core, "suite"), v.Seal.Suite)
	core = appendInteger(appendText(core, "chunk_bytes"), v.Seal.ChunkBytes)
	core = appendBytes(appendText(core, "key_commitment"), commitment)
	coreDigest := hash(core)
	equal("core digest", coreDigest[:], v.CoreDigest)

	chunks, root := plaintextRoot(plaintext, [32]byte(v.LeafKey))
	if chunks != v.Seal.Chunks {
		t.Errorf("%d chunks, not %d", chunks, v.Seal.Chunks)
	}
	equal("root", root[:], v.Seal.PlaintextRoot)

	padded := append(plaintext, make([]byte, paddedLength(uint64(len(plaintext)))-uint64(len(plaintext)))...)
	keyFor := func(what string) []byte {
		return hkdfKey(t, v.ContentKey, salt, "samovar/v1/"+what+string(coreDigest[:]))
	}
	ciphertext := sealChunks(t, keyFor("chunk"), padded, coreDigest[:])
	for i, chunk := range ciphertext {
		digest := sha256.Sum256(chunk)
		equal("chunk", digest[:], v.ChunkSHA256[i])
	}
	whole := slices.Concat(ciphertext...)
	digest := sha256.Sum256(whole)
	equal("ciphertext", digest[:], v.CiphertextSHA256)
	var list []byte
	for _, leaf := range v.LeafDigests {
		list = append(list, leaf...)
	}
	equal("leaves", slices.Concat(sealChunks(t, keyFor("leaves"), list, coreDigest[:])...), v.Leaves)

	associated := parts(coreDigest[:], u64(chunks), root[:])
	meta, err := aesGCM(t, keyFor("meta")).Open(nil, make([]byte, 12), v.Seal.SealedMeta, associated[:])
	if err != nil {
		t.Fatal(err)
	}
	equal("meta", meta, slices.Concat(u64(uint64(v.PlaintextBytes)), v.LeafKey))
}

func TestCustody(t *testing.T) {
	var v struct {
		Network        hexBytes `json:"network"`
		DepositDagCBOR hexBytes `json:"deposit_dag_cbor"`
		Node           string   `json:"node"`
		NodeSeed       hexBytes `json:"node_seed"`
		SealingKey     hexBytes `json:"sealing_key"`
		Share          hexBytes `json:"share"`
		ShareInfo      hexBytes `json:"share_info"`
		SealedShare    hexBytes `json:"sealed_share"`
		EphemeralSeed  hexBytes `json:"ephemeral_seed"`
		EphemeralKey   hexBytes `json:"ephemeral_key"`
		ReleaseInfo    hexBytes `json:"release_info"`
		ReleasedShare  hexBytes `json:"released_share"`
		Index          uint8    `json:"index"`
	}
	readJSON(t, "share.json", &v)
	network := Digest(v.Network)
	var deposit Encoded[Deposit]
	if err := unmarshal(v.DepositDagCBOR, 1<<20, &deposit); err != nil {
		t.Fatal(err)
	}
	holder := deposit.Value.Custodians[v.Index-1]

	signing := ed25519.NewKeyFromSeed(hkdfKey(t, v.NodeSeed, nil, "samovar/v1/node/sign"))
	if node := Account(signing.Public().(ed25519.PublicKey)); node != holder.Node || node.String() != v.Node {
		t.Error("the seed gives another node")
	}
	private := xwing(t, hkdfKey(t, v.NodeSeed, nil, "samovar/v1/node/seal"), v.SealingKey)
	if hash(v.SealingKey) != holder.SealingKey {
		t.Error("the deposit is for another sealing key")
	}
	depositDigest := deposit.Digest()
	info := appendInteger(appendText(appendHead(nil, majorMap, 2), "index"), int64(v.Index))
	info = appendBytes(appendText(info, "deposit"), depositDigest[:])
	opens(t, private, message(network, "share", info), v.ShareInfo, v.SealedShare, v.Share)

	object := deposit.Value.Object
	commitment := parts(domain(network, "share-commitment"), object[:], deposit.Value.Owner[:],
		u32(deposit.Value.Epoch), []byte{v.Index}, v.Share)
	if commitment != holder.Commitment {
		t.Error("the share is not the one that was committed to")
	}

	ephemeral := xwing(t, v.EphemeralSeed, v.EphemeralKey)
	var release Encoded[Release]
	released := v.ReleaseInfo[len(message(network, "released-share", nil)):]
	if err := unmarshal(released, 1<<20, &release); err != nil {
		t.Fatal(err)
	}
	opens(t, ephemeral, message(network, "released-share", release.Canonical), v.ReleaseInfo, v.ReleasedShare, v.Share)
}

func xwing(t *testing.T, seed, public []byte) hpke.PrivateKey {
	t.Helper()
	private, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(private.PublicKey().Bytes(), public) {
		t.Error("the seed gives another X-Wing key")
	}
	return private
}

func opens(t *testing.T, key hpke.PrivateKey, info, wantInfo, sealed, want []byte) {
	t.Helper()
	if !bytes.Equal(info, wantInfo) {
		t.Errorf("info %x, not %x", info, wantInfo)
	}
	opened, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, sealed)
	if err != nil || !bytes.Equal(opened, want) {
		t.Errorf("opened %x, %v", opened, err)
	}
}

func TestEvidence(t *testing.T) {
	var v struct {
		Network hexBytes `json:"network"`
		Policy  struct {
			ReleaseKey        hexBytes   `json:"release_key"`
			ReleaseCounterMin uint64     `json:"release_counter_min"`
			PCRs              []Register `json:"pcrs"`
		} `json:"policy"`
		TrustAnchors struct {
			Hardware  []hexBytes `json:"hardware"`
			Simulated []hexBytes `json:"simulated"`
		} `json:"trust_anchors"`
		Evidence   hexBytes `json:"evidence"`
		EventLog   hexBytes `json:"event_log"`
		ExtraData  hexBytes `json:"extra_data"`
		EvidenceID string   `json:"evidence_id"`
	}
	readJSON(t, "evidence.json", &v)
	p := &Proof{network: Network{ID: Digest(v.Network)}, eventLog: &EventLog{}}
	p.genesis.Appraisal.ReleaseKey = v.Policy.ReleaseKey
	p.genesis.Appraisal.ReleaseCounterMin = v.Policy.ReleaseCounterMin
	p.genesis.Appraisal.PCRs = v.Policy.PCRs
	for _, anchor := range v.TrustAnchors.Simulated {
		p.genesis.TrustAnchors.Simulated = append(p.genesis.TrustAnchors.Simulated, anchor)
	}
	if err := unmarshal(v.Evidence, evidenceBytesMax, &p.evidence); err != nil {
		t.Fatal(err)
	}
	if err := unmarshal(v.EventLog, evidenceBytesMax, p.eventLog); err != nil {
		t.Fatal(err)
	}
	p.registration = &p.evidence.Registration

	id := cidOf(v.Evidence)
	if id.String() != v.EvidenceID || cidOf(v.EventLog) != p.evidence.TPM.Log {
		t.Errorf("the evidence is %s, not %s, or it names another log", id, v.EvidenceID)
	}
	if bound := p.boundTo(); !bytes.Equal(bound[:], v.ExtraData) {
		t.Errorf("extraData %x, not %x", bound, v.ExtraData)
	}
	result, err := p.appraise()
	if err != nil {
		t.Fatal(err)
	}
	if want := (AttestationResult{Simulated: true, SelfMeasured: true, ReleaseCounter: 2}); result != want {
		t.Errorf("%+v, not %+v", result, want)
	}
	p.genesis.Appraisal.ReleaseCounterMin = 3
	if _, err := p.appraise(); err == nil {
		t.Error("a release that is too old passes")
	}
}
