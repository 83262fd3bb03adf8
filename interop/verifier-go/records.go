// The tables of proof.md as Go types.

package main

// Bundle is the proof file.
type Bundle struct {
	Version  uint32  `cbor:"version"`
	Genesis  []byte  `cbor:"genesis"`
	Proven   Proven  `cbor:"proven"`
	Evidence []byte  `cbor:"evidence"`
	EventLog *[]byte `cbor:"event_log"`
}

type Proven struct {
	Head    Head           `cbor:"head"`
	Records []ProvenRecord `cbor:"records"`
	Digests []Digest       `cbor:"digests"`
}

type Head struct {
	Certificate []byte `cbor:"certificate"`
	Header      []byte `cbor:"header"`
}

type ProvenRecord struct {
	Index  uint64 `cbor:"index"`
	Record []byte `cbor:"record"`
}

type Genesis struct {
	Version      uint32       `cbor:"version"`
	Name         string       `cbor:"name"`
	CreatedMs    uint64       `cbor:"created_ms"`
	NetworkKey   [96]byte     `cbor:"network_key"`
	Sharing      []byte       `cbor:"sharing"`
	Validators   []Validator  `cbor:"validators"`
	TrustAnchors TrustAnchors `cbor:"trust_anchors"`
	Appraisal    Appraisal    `cbor:"appraisal"`
	Custody      Custody      `cbor:"custody"`
	Fees         Fees         `cbor:"fees"`
	Limits       Policy       `cbor:"limits"`
	Allocations  []Allocation `cbor:"allocations"`
	TopUpMax     uint64       `cbor:"top_up_max"`
}

type Validator struct {
	Node        Account `cbor:"node"`
	Operator    string  `cbor:"operator"`
	Region      string  `cbor:"region"`
	Endorsement Digest  `cbor:"endorsement"`
}

type TrustAnchors struct {
	Hardware  [][]byte `cbor:"hardware"`
	Simulated [][]byte `cbor:"simulated"`
}

type Appraisal struct {
	ReleaseKey        []byte     `cbor:"release_key"`
	ReleaseCounterMin uint64     `cbor:"release_counter_min"`
	PCRs              []Register `cbor:"pcrs"`
	VerdictMs         uint64     `cbor:"verdict_ms"`
	WindowMs          uint64     `cbor:"window_ms"`
	Appraisers        uint32     `cbor:"appraisers"`
	EvidenceAgeMsMax  uint64     `cbor:"evidence_age_ms_max"`
}

type Custody string

func (Custody) names() []string { return []string{"strict", "development"} }

type Fees struct {
	Transaction    uint64 `cbor:"transaction"`
	TransactionKib uint64 `cbor:"transaction_kib"`
	Appraisal      uint64 `cbor:"appraisal"`
	Executor       uint64 `cbor:"executor"`
	ExecutorSecond uint64 `cbor:"executor_second"`
	Executor64Mib  uint64 `cbor:"executor_64mib"`
	Custodians     uint64 `cbor:"custodians"`
	Storage        uint64 `cbor:"storage"`
	Validators     uint64 `cbor:"validators"`
}

// Policy is `limits` of the genesis.
type Policy struct {
	Task         Limits `cbor:"task"`
	SlotsPerNode uint32 `cbor:"slots_per_node"`
	Copies       uint32 `cbor:"copies"`
	StorageMs    uint64 `cbor:"storage_ms"`
	OverheadMs   uint64 `cbor:"overhead_ms"`
	ProgramBytes uint64 `cbor:"program_bytes"`
}

type Limits struct {
	RunMs       uint64 `cbor:"run_ms"`
	MemoryBytes uint64 `cbor:"memory_bytes"`
	OutputBytes uint64 `cbor:"output_bytes"`
}

type Allocation struct {
	Account Account `cbor:"account"`
	Amount  uint64  `cbor:"amount"`
}

// Record is one entry of the log.
type Record struct {
	Network Digest `cbor:"network"`
	Height  uint64 `cbor:"height"`
	TimeMs  uint64 `cbor:"time_ms"`
	Fact    Fact   `cbor:"fact"`
}

type Fact struct {
	choice
	Registration *Encoded[Registration]  `cbor:"registration"`
	Verdict      *Verdict                `cbor:"verdict"`
	Object       *PublishedObject        `cbor:"object"`
	Terms        *Encoded[Signed[Terms]] `cbor:"terms"`
	Task         *Encoded[Task]          `cbor:"task"`
	Assignment   *Assignment             `cbor:"assignment"`
	Settlement   *Settlement             `cbor:"settlement"`
	Releases     *Releases               `cbor:"releases"` // never part of a proof
}

type Task struct {
	Requester Account  `cbor:"requester"`
	Nonce     uint64   `cbor:"nonce"`
	Program   CID      `cbor:"program"`
	Inputs    []Input  `cbor:"inputs"`
	Args      []string `cbor:"args"`
	Limits    Limits   `cbor:"limits"`
	Metering  Metering `cbor:"metering"`
	Seed      [32]byte `cbor:"seed"`
	ResultKey []byte   `cbor:"result_key"`
	PriceMax  uint64   `cbor:"price_max"`
}

type Input struct {
	Name   string `cbor:"name"`
	Object CID    `cbor:"object"`
}

type Metering string

func (Metering) names() []string { return []string{"none", "fuel", "fuel-nan"} }

type PublishedObject struct {
	Manifest    Encoded[Signed[Manifest]] `cbor:"manifest"`
	Deposit     Signed[Deposit]           `cbor:"deposit"`
	DepositAcks []Signed[DepositAck]      `cbor:"deposit_acks"`
	Storage     []Signed[StorageAck]      `cbor:"storage"`
}

type Manifest struct {
	Kind            Kind         `cbor:"kind"`
	Owner           Account      `cbor:"owner"`
	Ciphertext      CID          `cbor:"ciphertext"`
	CiphertextBytes uint64       `cbor:"ciphertext_bytes"`
	Leaves          CID          `cbor:"leaves"`
	Seal            Seal         `cbor:"seal"`
	Description     *Description `cbor:"description"`
	Sample          *CID         `cbor:"sample"`
}

func (Manifest) purpose() string   { return "manifest" }
func (m Manifest) signer() Account { return m.Owner }

type Kind string

func (Kind) names() []string { return []string{"program", "data"} }

type Seal struct {
	Suite         Suite    `cbor:"suite"`
	Salt          [32]byte `cbor:"salt"`
	KeyCommitment [32]byte `cbor:"key_commitment"`
	ChunkBytes    uint32   `cbor:"chunk_bytes"`
	Chunks        uint64   `cbor:"chunks"`
	PlaintextRoot Digest   `cbor:"plaintext_root"`
	SealedMeta    []byte   `cbor:"sealed_meta"`
}

type Suite string

func (Suite) names() []string { return []string{"aes256gcm-xwing-1"} }

type Description struct {
	Title   string   `cbor:"title"`
	Text    string   `cbor:"text"`
	Columns []Column `cbor:"columns"`
	Rows    string   `cbor:"rows"`
	Licence string   `cbor:"licence"`
}

type Column struct {
	Name  string `cbor:"name"`
	Unit  string `cbor:"unit"`
	About string `cbor:"about"`
}

type Deposit struct {
	Object     CID         `cbor:"object"`
	Owner      Account     `cbor:"owner"`
	Epoch      uint32      `cbor:"epoch"`
	Threshold  uint8       `cbor:"threshold"`
	Custodians []Custodian `cbor:"custodians"`
}

func (Deposit) purpose() string   { return "deposit" }
func (d Deposit) signer() Account { return d.Owner }

type Custodian struct {
	Node       Account `cbor:"node"`
	SealingKey Digest  `cbor:"sealing_key"`
	Commitment Digest  `cbor:"commitment"`
}

type DepositAck struct {
	Deposit   Digest  `cbor:"deposit"`
	Index     uint8   `cbor:"index"`
	Custodian Account `cbor:"custodian"`
}

func (DepositAck) purpose() string   { return "deposit-ack" }
func (a DepositAck) signer() Account { return a.Custodian }

type StorageAck struct {
	Content CID     `cbor:"content"`
	Bytes   uint64  `cbor:"bytes"`
	UntilMs uint64  `cbor:"until_ms"`
	Node    Account `cbor:"node"`
}

func (StorageAck) purpose() string   { return "storage-ack" }
func (a StorageAck) signer() Account { return a.Node }

type Terms struct {
	Object         CID          `cbor:"object"`
	Owner          Account      `cbor:"owner"`
	Serial         uint64       `cbor:"serial"`
	Price          uint64       `cbor:"price"`
	Requesters     Requesters   `cbor:"requesters"`
	Counterparts   Counterparts `cbor:"counterparts"`
	UsesMax        *uint64      `cbor:"uses_max"`
	ExpiresMs      *uint64      `cbor:"expires_ms"`
	OutputBytesMax *uint64      `cbor:"output_bytes_max"`
	Revoked        bool         `cbor:"revoked"`
}

func (Terms) purpose() string   { return "terms" }
func (t Terms) signer() Account { return t.Owner }

type Requesters struct {
	choice
	Any  bool       `cbor:"any"`
	Only *[]Account `cbor:"only"`
}

type Counterparts struct {
	choice
	Any  bool   `cbor:"any"`
	Only *[]CID `cbor:"only"`
}

type Registration struct {
	Node           Account `cbor:"node"`
	SealingKey     []byte  `cbor:"sealing_key"`
	Operator       string  `cbor:"operator"`
	Region         string  `cbor:"region"`
	Endorsement    Digest  `cbor:"endorsement"`
	AttestationKey []byte  `cbor:"attestation_key"`
}

type AttestationResult struct {
	Simulated      bool   `cbor:"simulated"`
	SelfMeasured   bool   `cbor:"self_measured"`
	ReleaseCounter uint64 `cbor:"release_counter"`
}

type Verdict struct {
	Node         Account                 `cbor:"node"`
	Registration Digest                  `cbor:"registration"`
	Evidence     CID                     `cbor:"evidence"`
	Window       uint64                  `cbor:"window"`
	Result       AttestationResult       `cbor:"result"`
	Seed         Seed                    `cbor:"seed"`
	Drawn        []Account               `cbor:"drawn"`
	Votes        []Signed[AppraisalVote] `cbor:"votes"`
	ExpiresMs    uint64                  `cbor:"expires_ms"`
}

type AppraisalVote struct {
	Subject      Account           `cbor:"subject"`
	Registration Digest            `cbor:"registration"`
	Evidence     CID               `cbor:"evidence"`
	Window       uint64            `cbor:"window"`
	Result       AttestationResult `cbor:"result"`
	Appraiser    Account           `cbor:"appraiser"`
}

func (AppraisalVote) purpose() string   { return "appraisal-vote" }
func (v AppraisalVote) signer() Account { return v.Appraiser }

type Assignment struct {
	Task           Digest         `cbor:"task"`
	Attempt        uint8          `cbor:"attempt"`
	Executor       Account        `cbor:"executor"`
	Seed           Seed           `cbor:"seed"`
	EligibleRoot   Digest         `cbor:"eligible_root"`
	EligibleSize   uint32         `cbor:"eligible_size"`
	Index          uint32         `cbor:"index"`
	Path           []Digest       `cbor:"path"`
	Verdict        Digest         `cbor:"verdict"`
	Terms          []AppliedTerms `cbor:"terms"`
	OutputBytesMax uint64         `cbor:"output_bytes_max"`
	DeadlineMs     uint64         `cbor:"deadline_ms"`
}

type Seed struct {
	Round     Round    `cbor:"round"`
	Signature [48]byte `cbor:"signature"`
}

type Round struct {
	Epoch uint64 `cbor:"epoch"`
	View  uint64 `cbor:"view"`
}

type AppliedTerms struct {
	Object CID    `cbor:"object"`
	Serial uint64 `cbor:"serial"`
	Digest Digest `cbor:"digest"`
}

type Receipt struct {
	Task       Digest  `cbor:"task"`
	Attempt    uint8   `cbor:"attempt"`
	Executor   Account `cbor:"executor"`
	Assignment Digest  `cbor:"assignment"`
	Outcome    Outcome `cbor:"outcome"`
}

func (Receipt) purpose() string   { return "receipt" }
func (r Receipt) signer() Account { return r.Executor }

type Outcome struct {
	choice
	Done   *ResultSeal `cbor:"done"`
	Failed *Failure    `cbor:"failed"`
}

type Failure string

func (Failure) names() []string {
	return []string{"guest", "limit", "keys", "content", "node", "lapsed"}
}

type ResultSeal struct {
	Ciphertext      CID    `cbor:"ciphertext"`
	CiphertextBytes uint64 `cbor:"ciphertext_bytes"`
	Leaves          CID    `cbor:"leaves"`
	Seal            Seal   `cbor:"seal"`
	WrappedKey      []byte `cbor:"wrapped_key"`
}

type Settlement struct {
	Task     Digest               `cbor:"task"`
	Receipt  *Signed[Receipt]     `cbor:"receipt"`
	Releases []Signed[Release]    `cbor:"releases"`
	Storage  []Signed[StorageAck] `cbor:"storage"`
	Payments []Payment            `cbor:"payments"`
}

type Release struct {
	Task         Digest  `cbor:"task"`
	Attempt      uint8   `cbor:"attempt"`
	Object       CID     `cbor:"object"`
	Epoch        uint32  `cbor:"epoch"`
	Index        uint8   `cbor:"index"`
	Custodian    Account `cbor:"custodian"`
	Executor     Account `cbor:"executor"`
	EphemeralKey Digest  `cbor:"ephemeral_key"`
	Terms        Digest  `cbor:"terms"`
}

func (Release) purpose() string   { return "release" }
func (r Release) signer() Account { return r.Custodian }

// Releases are what one custodian has posted by itself.
type Releases struct {
	Task     Digest            `cbor:"task"`
	Releases []Signed[Release] `cbor:"releases"`
}

type Payment struct {
	To     Account `cbor:"to"`
	Amount uint64  `cbor:"amount"`
	Reason string  `cbor:"reason"`
}

type Evidence struct {
	Registration Encoded[Registration] `cbor:"registration"`
	Role         Role                  `cbor:"role"`
	Window       uint64                `cbor:"window"`
	Block        Block                 `cbor:"block"`
	TPM          TPM                   `cbor:"tpm"`
}

type Role string

func (Role) names() []string { return []string{"executor"} }

type Block struct {
	Height uint64 `cbor:"height"`
	TimeMs uint64 `cbor:"time_ms"`
	Digest Digest `cbor:"digest"`
}

type TPM struct {
	EndorsementChain [][]byte   `cbor:"endorsement_chain"`
	AttestationKey   []byte     `cbor:"attestation_key"`
	Quote            []byte     `cbor:"quote"`
	Signature        []byte     `cbor:"signature"`
	PCRs             []PCRValue `cbor:"pcrs"`
	Log              CID        `cbor:"log"`
}

// Register is the number of a register of the TPM.
type Register uint32

type PCRValue struct {
	Index Register `cbor:"index"`
	Value Digest   `cbor:"value"`
}

type EventLog struct {
	Entries []LogEntry `cbor:"entries"`
}

type LogEntry struct {
	Binary  Digest            `cbor:"binary"`
	Release *ReleaseStatement `cbor:"release"`
}

type ReleaseStatement struct {
	Binary    Digest   `cbor:"binary"`
	Counter   uint64   `cbor:"counter"`
	Signature [64]byte `cbor:"signature"`
}

// Opening is what is kept beside a result.
type Opening struct {
	Length  uint64   `cbor:"length"`
	LeafKey [32]byte `cbor:"leaf_key"`
}
