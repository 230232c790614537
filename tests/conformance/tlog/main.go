// Checks a log with the reference implementation of transparency logs, golang.org/x/mod/sumdb: its notes, tiles and proofs.
//
//	tlog log DIR VKEY OLD    every entry of the folder is in the tree, and so is the tree of OLD entries; prints the proofs
//	tlog proof FILE VKEY     the receipt that a C2SP tlog-proof carries is in the log
//	tlog cosigned FILE VKEY COSIGNER   a checkpoint carries a cosignature/v1 of this key that holds
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	commands := map[string]func([]string) (any, error){"log": log, "proof": proof, "cosigned": cosigned}
	said, err := commands[os.Args[1]](os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(said)
}

// files reads tiles of height 8 where C2SP tlog-tiles puts them.
type files string

func (dir files) Height() int { return 8 }

func (dir files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(string(dir), strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (dir files) SaveTiles(tiles []tlog.Tile, data [][]byte) {}

func head(raw []byte, verifiers ...note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(raw, note.VerifierList(verifiers...))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func log(args []string) (any, error) {
	dir, old := args[0], args[2]
	verifier, err := note.NewVerifier(args[1])
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return nil, err
	}
	tree, err := head(raw, verifier)
	if err != nil {
		return nil, err
	}
	reader := tlog.TileHashReader(tree, files(dir))
	inclusion := map[string][]string{}
	for leaf := int64(0); leaf < tree.N; leaf++ {
		entry, err := entryAt(dir, leaf, tree.N)
		if err != nil {
			return nil, err
		}
		path, err := tlog.ProveRecord(tree.N, leaf, reader)
		if err != nil {
			return nil, err
		}
		if err := tlog.CheckRecord(path, tree.N, tree.Hash, leaf, tlog.RecordHash(entry)); err != nil {
			return nil, fmt.Errorf("entry %d: %w", leaf, err)
		}
		inclusion[strconv.FormatInt(leaf, 10)] = texts(path)
	}
	size, err := strconv.ParseInt(old, 10, 64)
	if err != nil {
		return nil, err
	}
	older, err := tlog.TreeHash(size, reader)
	if err != nil {
		return nil, err
	}
	path, err := tlog.ProveTree(tree.N, size, reader)
	if err != nil {
		return nil, err
	}
	if err := tlog.CheckTree(path, tree.N, tree.Hash, size, older); err != nil {
		return nil, err
	}
	return map[string]any{"size": tree.N, "inclusion": inclusion, "consistency": texts(path), "older": older.String()}, nil
}

func entryAt(dir string, leaf, size int64) ([]byte, error) {
	tile := tlog.TileForIndex(8, tlog.StoredHashIndex(0, leaf))
	tile.W = int(min(256, size-tile.N*256))
	path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
	bundle, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		return nil, err
	}
	for skip := leaf % 256; len(bundle) >= 2; skip-- {
		length := int(binary.BigEndian.Uint16(bundle))
		if skip == 0 {
			return bundle[2 : 2+length], nil
		}
		bundle = bundle[2+length:]
	}
	return nil, errors.New("the bundle is too short")
}

func proof(args []string) (any, error) {
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(args[1])
	if err != nil {
		return nil, err
	}
	top, checkpoint, _ := bytes.Cut(raw, []byte("\n\n"))
	tree, err := head(checkpoint, verifier)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(top), "\n")
	envelope, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return nil, err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return nil, err
	}
	var path tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		path = append(path, hash)
	}
	digest := sha256.Sum256(envelope)
	return index, tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(digest[:]))
}

// cosigner verifies cosignature/v1 as C2SP tlog-cosignature gives it.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 72 {
		return false
	}
	said := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(signature), text)
	return ed25519.Verify(c.key, []byte(said), signature[8:])
}

func cosigned(args []string) (any, error) {
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(args[1])
	if err != nil {
		return nil, err
	}
	parts := strings.SplitN(args[2], "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, errors.New("not a cosigner's key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	watcher := cosigner{parts[0], binary.BigEndian.Uint32(sum[:]), ed25519.PublicKey(key[1:])}
	if fmt.Sprintf("%08x", watcher.hash) != parts[1] {
		return nil, errors.New("the key's hash is not its own")
	}
	opened, err := note.Open(raw, note.VerifierList(verifier, watcher))
	if err != nil {
		return nil, err
	}
	if len(opened.Sigs) != 2 {
		return nil, fmt.Errorf("%d of 2 signatures hold", len(opened.Sigs))
	}
	return len(opened.Sigs), nil
}

func texts(hashes []tlog.Hash) []string {
	said := []string{}
	for _, hash := range hashes {
		said = append(said, hash.String())
	}
	return said
}
