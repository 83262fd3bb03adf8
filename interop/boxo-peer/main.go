// boxo-peer is an IPFS peer of which nobody here wrote the protocol: bitswap, UnixFS and the look-up table of boxo and
// go-libp2p, which Kubo is made of. Samovar's content crate is tested against it, in both directions. Loopback only;
// blocks are in memory.
//
//	boxo-peer cid FILE                    prints the CID of FILE under the profile unixfs-v1-2025
//	boxo-peer serve FILE [PEER]           prints ADDR and CID, provides the CID if it knows a PEER, serves until stdin ends
//	boxo-peer fetch PEER CID OUT          fetches one file from PEER
//	boxo-peer find PEER CID OUT           looks CID up with PEER's help, then fetches it from whoever has it
//
// PEER is a multiaddr that ends with a peer id. Each line of output is one word and one value.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunker "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/file"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// The profile unixfs-v1-2025.
const (
	leafBytes = 1 << 20
	width     = 1024
	sha2_256  = 0x12
)

const timeout = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	usage := errors.New("usage: boxo-peer cid FILE | serve FILE [PEER] | fetch PEER CID OUT | find PEER CID OUT")
	if len(args) < 2 {
		return usage
	}
	node, err := start(ctx)
	if err != nil {
		return err
	}
	defer node.close()

	switch verb := args[0]; {
	case verb == "cid" && len(args) == 2:
		root, err := node.add(ctx, args[1])
		if err == nil {
			fmt.Println("CID", root)
		}
		return err
	case verb == "serve" && len(args) <= 3:
		return node.serve(ctx, args[1], args[2:])
	case verb == "fetch" && len(args) == 4:
		if _, err := node.connect(ctx, args[1]); err != nil {
			return err
		}
		return node.fetch(ctx, args[2], args[3])
	case verb == "find" && len(args) == 4:
		if err := node.find(ctx, args[1], args[2]); err != nil {
			return err
		}
		return node.fetch(ctx, args[2], args[3])
	}
	return usage
}

type node struct {
	host     host.Host
	table    *dht.IpfsDHT
	exchange *bitswap.Bitswap
	dag      ipld.DAGService
}

func start(ctx context.Context) (*node, error) {
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.DisableRelay(),
		libp2p.UserAgent("boxo-peer"),
	)
	if err != nil {
		return nil, err
	}
	// The table Kubo uses on a LAN.
	table, err := dht.New(h, dht.Mode(dht.ModeServer), dht.ProtocolPrefix("/ipfs"), dht.ProtocolExtension("/lan"))
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	exchange := bitswap.New(ctx, bsnet.NewFromIpfsHost(h), nil, store)
	return &node{h, table, exchange, merkledag.NewDAGService(blockservice.New(store, exchange))}, nil
}

func (n *node) close() {
	// The process ends next: what fails to close ends with it.
	_ = n.exchange.Close()
	_ = n.table.Close()
	_ = n.host.Close()
}

func (n *node) serve(ctx context.Context, path string, peers []string) error {
	root, err := n.add(ctx, path)
	if err != nil {
		return err
	}
	for _, p := range peers {
		if _, err := n.connect(ctx, p); err != nil {
			return err
		}
		if err := n.waitForTable(ctx); err != nil {
			return err
		}
		if err := n.table.Provide(ctx, root, true); err != nil {
			return err
		}
	}
	fmt.Printf("ADDR %s/p2p/%s\nCID %s\n", n.host.Addrs()[0], n.host.ID(), root)
	// Whoever started this process holds the other end of stdin, so it never outlives a test.
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (n *node) find(ctx context.Context, address, root string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := cid.Decode(root)
	if err != nil {
		return err
	}
	if _, err := n.connect(ctx, address); err != nil {
		return err
	}
	if err := n.waitForTable(ctx); err != nil {
		return err
	}
	for found := range n.table.FindProvidersAsync(ctx, c, 1) {
		fmt.Println("PROVIDER", found.ID)
		return n.host.Connect(ctx, found)
	}
	return errors.New("nobody provides " + root)
}

func (n *node) connect(ctx context.Context, address string) (peer.ID, error) {
	parsed, err := multiaddr.NewMultiaddr(address)
	if err != nil {
		return "", err
	}
	info, err := peer.AddrInfoFromP2pAddr(parsed)
	if err != nil {
		return "", err
	}
	return info.ID, n.host.Connect(ctx, *info)
}

// waitForTable waits until the look-up table has taken in the peer just connected.
func (n *node) waitForTable(ctx context.Context) error {
	for n.table.RoutingTable().Size() == 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (n *node) add(ctx context.Context, path string) (cid.Cid, error) {
	f, err := os.Open(path)
	if err != nil {
		return cid.Undef, err
	}
	defer f.Close()
	batch := ipld.NewBufferedDAG(ctx, n.dag)
	params := helpers.DagBuilderParams{
		Dagserv:    batch,
		RawLeaves:  true,
		Maxlinks:   width,
		CidBuilder: cid.V1Builder{Codec: cid.DagProtobuf, MhType: sha2_256},
	}
	builder, err := params.New(chunker.NewSizeSplitter(f, leafBytes))
	if err != nil {
		return cid.Undef, err
	}
	root, err := balanced.Layout(builder)
	if err != nil {
		return cid.Undef, err
	}
	return root.Cid(), batch.Commit()
}

func (n *node) fetch(ctx context.Context, root, out string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := cid.Decode(root)
	if err != nil {
		return err
	}
	start := time.Now()
	session := merkledag.NewReadOnlyDagService(merkledag.NewSession(ctx, n.dag))
	vertex, err := session.Get(ctx, c)
	if err != nil {
		return err
	}
	reader, err := unixfile.NewUnixfsFile(ctx, session, vertex)
	if err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	bytes, err := io.Copy(f, reader.(files.File))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	fmt.Printf("BYTES %d\nMILLISECONDS %d\n", bytes, time.Since(start).Milliseconds())
	return nil
}
