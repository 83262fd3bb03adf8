// Link `evidence`: what the executor's TPM said, judged again as of the block that it names.

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"time"
)

const (
	evidenceBytesMax = 64 << 10
	chainMax         = 5
	certificateMax   = 8 << 10
	logEntriesMax    = 64
	launcherRegister = 14
	registerMax      = 23
)

// openEvidence checks that evidence and event log are the blocks that are named.
func (p *Proof) openEvidence() error {
	if cidOf(p.bundle.Evidence) != p.verdict.Evidence {
		return errors.New("it is not what the verdict names")
	}
	if err := unmarshal(p.bundle.Evidence, evidenceBytesMax, &p.evidence); err != nil {
		return err
	}
	if p.bundle.EventLog == nil {
		return nil
	}
	if cidOf(*p.bundle.EventLog) != p.evidence.TPM.Log {
		return errors.New("the event log is not the one that it names")
	}
	p.eventLog = &EventLog{}
	return unmarshal(*p.bundle.EventLog, evidenceBytesMax, p.eventLog)
}

func (p *Proof) checkEvidence() error {
	result := p.verdict.Result
	if result.Simulated || len(p.genesis.TrustAnchors.Simulated) != 0 {
		p.note("simulated")
	}
	if result.SelfMeasured {
		p.note("self-measured")
	}
	if p.evidence.Registration.Digest() != p.registration.Digest() || p.evidence.Window != p.verdict.Window {
		return errors.New("it is of another registration or window than the verdict")
	}
	block, policy, at := p.evidence.Block, p.genesis.Appraisal, p.places.verdict
	switch {
	case block.Height > at.Height || block.TimeMs > at.TimeMs:
		return errors.New("it names a block after the verdict")
	case saturatingAdd(block.TimeMs, policy.EvidenceAgeMsMax) < saturatingMul(p.evidence.Window, policy.WindowMs):
		return errors.New("it was too old when its window began")
	}
	if p.eventLog == nil {
		p.note("the evidence was not appraised again: it rests on the votes")
		return nil
	}
	appraised, err := p.appraise()
	if err == nil && appraised != result {
		err = fmt.Errorf("appraised again it says %+v, the verdict %+v", appraised, result)
	}
	return err
}

// appraise judges the evidence as of the block that it names.
func (p *Proof) appraise() (result AttestationResult, err error) {
	tpm, policy := p.evidence.TPM, p.genesis.Appraisal
	result.SelfMeasured = true
	if result.Simulated, err = p.checkEndorsement(); err != nil {
		return result, err
	}
	name, err := tpmName(tpm.AttestationKey)
	if err != nil {
		return result, err
	}
	if !bytes.Equal(name, p.registration.Value.AttestationKey) {
		return result, errors.New("the attestation key is not the registered one")
	}
	key, err := parseAttestationKey(tpm.AttestationKey)
	if err != nil {
		return result, err
	}
	r, s, err := parseTPMSignature(tpm.Signature)
	if err != nil {
		return result, err
	}
	if signed := sha256.Sum256(tpm.Quote); !ecdsa.Verify(key, signed[:], r, s) {
		return result, errors.New("the quote's signature does not verify")
	}
	quote, err := parseQuote(tpm.Quote)
	if err != nil {
		return result, err
	}
	if bound := p.boundTo(); !bytes.Equal(quote.extraData, bound[:]) {
		return result, errors.New("the quote is about something else")
	}
	if err := checkRegisters(quote, tpm.PCRs, policy.PCRs); err != nil {
		return result, err
	}
	result.ReleaseCounter, err = p.checkEventLog()
	return result, err
}

// boundTo is what the quote must carry as extraData.
func (p *Proof) boundTo() Digest {
	registration, block := p.evidence.Registration.Digest(), p.evidence.Block
	bound := parts(registration[:], []byte(p.evidence.Role), u64(p.evidence.Window),
		u64(block.Height), u64(block.TimeMs), block.Digest[:])
	return hash(message(p.network.ID, "evidence", bound[:]))
}

var (
	oidEndorsementKey  = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	oidAlternativeName = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// checkEndorsement says whether only a simulated anchor vouches for the endorsement key.
func (p *Proof) checkEndorsement() (simulated bool, err error) {
	chain := p.evidence.TPM.EndorsementChain
	if len(chain) < 1 || len(chain) > chainMax {
		return false, errors.New("no endorsement certificate, or too many")
	}
	certificates := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		if len(der) > certificateMax {
			return false, errors.New("a certificate is too long")
		}
		if certificates[i], err = parseCertificateDER(der); err != nil {
			return false, err
		}
	}
	if hash(chain[0]) != p.registration.Value.Endorsement {
		return false, errors.New("the endorsement certificate is not the registered one")
	}
	endorsement := certificates[0]
	if !isForEndorsement(endorsement) {
		return false, errors.New("the certificate is not for an endorsement key")
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range certificates[1:] {
		intermediates.AddCert(certificate)
	}
	options := x509.VerifyOptions{
		Intermediates: intermediates,
		CurrentTime:   time.Unix(int64(p.evidence.Block.TimeMs/1000), 0), // certificates know whole seconds
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, anchors := range [][][]byte{p.genesis.TrustAnchors.Hardware, p.genesis.TrustAnchors.Simulated} {
		if options.Roots, err = pool(anchors); err != nil {
			return false, err
		}
		chains, failed := endorsement.Verify(options)
		if failed == nil && slices.ContainsFunc(chains, isProperChain) {
			return simulated, nil
		}
		simulated, err = true, errors.Join(errors.New("no trust anchor of the network vouches for this TPM"), failed)
	}
	return false, err
}

// pool makes trust anchors of certificates. The network believes them as long as it lasts, whatever they say themselves.
func pool(anchors [][]byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	for _, der := range anchors {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("a trust anchor: %w", err)
		}
		root.NotBefore, root.NotAfter = time.Time{}, time.UnixMilli(math.MaxInt64)
		roots.AddCert(root)
	}
	return roots, nil
}

// isProperChain says whether the certificates are for endorsement keys, as far as they say what they are for, and signed
// in one of the four ways that the specification names.
func isProperChain(chain []*x509.Certificate) bool {
	for i, certificate := range chain[:len(chain)-1] {
		restricted := len(certificate.ExtKeyUsage)+len(certificate.UnknownExtKeyUsage) > 0
		if restricted && !isForEndorsement(certificate) {
			return false
		}
		if !isProperSignature(certificate.SignatureAlgorithm, chain[i+1].PublicKey) {
			return false
		}
	}
	return true
}

func isProperSignature(algorithm x509.SignatureAlgorithm, by any) bool {
	switch key := by.(type) {
	case *rsa.PublicKey:
		return key.Size() >= 256 && (algorithm == x509.SHA256WithRSA || algorithm == x509.SHA384WithRSA)
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() && algorithm == x509.ECDSAWithSHA256 ||
			key.Curve == elliptic.P384() && algorithm == x509.ECDSAWithSHA384
	default:
		return false
	}
}

func isForEndorsement(certificate *x509.Certificate) bool {
	return slices.ContainsFunc(certificate.UnknownExtKeyUsage, oidEndorsementKey.Equal)
}

// parseCertificateDER reads one certificate of a chain.
//
// Endorsement certificates have a critical alternative name that is a directory name; it says who made the TPM, and
// constrains nothing.
func parseCertificateDER(der []byte) (*x509.Certificate, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	certificate.UnhandledCriticalExtensions = slices.DeleteFunc(certificate.UnhandledCriticalExtensions, oidAlternativeName.Equal)
	return certificate, nil
}

// checkRegisters demands that the quote is over exactly the policy's registers, with the values that were sent along.
func checkRegisters(quote quote, values []PCRValue, policy []Register) error {
	for i, register := range policy {
		if register > registerMax || i > 0 && register <= policy[i-1] {
			return errors.New("the registers of the policy do not ascend to at most 23")
		}
	}
	var registers []byte
	indices := make([]Register, len(values))
	for i, value := range values {
		indices[i] = value.Index
		registers = append(registers, value.Value[:]...)
	}
	digest := hash(registers)
	switch {
	case !slices.Equal(indices, policy) || quote.selection != selectionOf(policy):
		return errors.New("the quote is not over exactly the registers of the policy")
	case !bytes.Equal(quote.registersDigest, digest[:]):
		return errors.New("the registers do not have the quoted digest")
	}
	return nil
}

// checkEventLog demands that the log explains register 14 and names approved binaries only.
func (p *Proof) checkEventLog() (counter uint64, err error) {
	entries := p.eventLog.Entries
	if len(entries) < 1 || len(entries) > logEntriesMax {
		return 0, errors.New("the event log is empty or too long")
	}
	policy := p.genesis.Appraisal
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), policy.ReleaseKey)
	if err != nil {
		return 0, fmt.Errorf("the release key: %w", err)
	}
	var register Digest
	for _, entry := range entries {
		register = hash(register[:], entry.Binary[:])
		release := entry.Release
		if release == nil || release.Binary != entry.Binary || release.Counter < policy.ReleaseCounterMin {
			return 0, fmt.Errorf("nobody vouches for binary %s", entry.Binary)
		}
		signed := hash([]byte("samovar/v1/release"), release.Binary[:], u64(release.Counter))
		r, s := new(big.Int).SetBytes(release.Signature[:32]), new(big.Int).SetBytes(release.Signature[32:])
		if !ecdsa.Verify(key, signed[:], r, s) {
			return 0, fmt.Errorf("the release of binary %s is not signed by the release key", entry.Binary)
		}
		counter = release.Counter
	}
	for _, value := range p.evidence.TPM.PCRs {
		if value.Index == launcherRegister && value.Value == register {
			return counter, nil
		}
	}
	return 0, errors.New("the event log does not lead to register 14")
}
