/** Tests the audit log's Merkle tree against RFC 6962: known roots, a naive implementation, and modified proofs. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  EMPTY_ROOT,
  hashLeaf,
  isConsistent,
  type NodeReader,
  proveConsistency,
  proveInclusion,
  rootFromInclusion,
  rootOf,
} from '../../../src/core/tlog/merkle.ts'
import {
  decodeBundle,
  encodeBundle,
  GrowingTree,
  levelsOf,
  partialWidth,
  readNodes,
  type Tile,
  TILE_WIDTH,
  tilePath,
} from '../../../src/audit/log/tiles.ts'
import { plainConsistency, plainInclusion, plainRoot } from '../../support/merkle.ts'

/** Leaves and roots from google/certificate-transparency, merkletree/merkle_tree_test.cc. */
const KNOWN: readonly (readonly [leaf: string, root: string])[] = [
  ['', '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'],
  ['00', 'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125'],
  ['10', 'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77'],
  ['2021', 'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7'],
  ['3031', '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4'],
  ['40414243', '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef'],
  ['5051525354555657', 'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c'],
  [
    '606162636465666768696a6b6c6d6e6f',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ],
]

const entriesOf = (count: number) =>
  Array.from({ length: count }, (_, i) => Buffer.from(`entry ${String(i)}`))

/** Grows a tree and keeps its tiles, as a log's files would. */
function grow(entries: readonly Buffer[]) {
  const tree = new GrowingTree()
  const files = new Map<string, readonly Buffer[]>()
  const put = ({ level, index, hashes }: Tile) =>
    files.set(tilePath(level, index, hashes.length), hashes)
  for (const entry of entries) tree.append(entry).forEach(put)
  tree.partials().forEach(put)
  const node = readNodes(
    tree.size,
    (level, index, width) => files.get(tilePath(level, index, width)) ?? [],
  )
  return { tree, node, files }
}

void t.test('the known roots of RFC 6962', (t) => {
  const tree = new GrowingTree()
  t.equal(
    EMPTY_ROOT.toString('hex'),
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  )
  t.ok(tree.root().equals(EMPTY_ROOT))
  for (const [leaf, root] of KNOWN) {
    tree.append(Buffer.from(leaf, 'hex'))
    t.equal(tree.root().toString('hex'), root)
  }
  t.end()
})

void t.test(
  'trees of every size up to 70, and around tile boundaries, match those of the RFC',
  (t) => {
    const sizes = [...Array(71).keys(), 255, 256, 257, 511, 512, 513, 1000]
    for (const size of sizes) {
      const entries = entriesOf(size)
      const { tree, node } = grow(entries)
      const root = plainRoot(entries)
      t.ok(tree.root().equals(root), `root of ${String(size)}`)
      t.ok(rootOf(node, size).equals(root), `root of the tiles of ${String(size)}`)
    }
    t.end()
  },
)

void t.test('a tree of more than two levels of tiles', (t) => {
  const size = TILE_WIDTH ** 2 + TILE_WIDTH + 3
  const tree = new GrowingTree()
  const tiles = new Map<string, readonly Buffer[]>()
  for (let i = 0; i < size; i++) {
    for (const { level, index, hashes } of tree.append(Buffer.from(String(i)))) {
      tiles.set(tilePath(level, index), hashes)
    }
  }
  for (const { level, index, hashes } of tree.partials()) {
    tiles.set(tilePath(level, index, hashes.length), hashes)
  }
  t.equal(levelsOf(size), 3)
  t.ok(tiles.has('tile/1/000') && tiles.has('tile/1/001.p/1') && tiles.has('tile/2/000.p/1'))
  const node: NodeReader = readNodes(
    size,
    (level, index, width) => tiles.get(tilePath(level, index, width)) ?? [],
  )
  t.ok(rootOf(node, size).equals(tree.root()))
  for (const index of [0, 255, 256, 65_535, 65_536, size - 1]) {
    const proof = proveInclusion(node, index, size)
    const root = rootFromInclusion(hashLeaf(Buffer.from(String(index))), index, size, proof)
    t.ok(root?.equals(tree.root()), `leaf ${String(index)}`)
  }
  // A tree reopened from its partial tiles must keep growing identically.
  const partials = Array.from({ length: 3 }, (_, level) => {
    const width = partialWidth(level, size)
    const index = Math.floor(size / TILE_WIDTH ** (level + 1))
    return width === 0 ? [] : (tiles.get(tilePath(level, index, width)) ?? [])
  })
  const again = new GrowingTree(size, partials)
  for (let i = 0; i < 600; i++) {
    again.append(Buffer.from(`more ${String(i)}`))
    tree.append(Buffer.from(`more ${String(i)}`))
  }
  t.ok(again.root().equals(tree.root()))
  t.end()
})

void t.test('proofs match those of the RFC, and no changed proof verifies', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 600 }), fc.nat(), fc.nat(), (size, a, b) => {
      const entries = entriesOf(size)
      const { tree, node } = grow(entries)
      const root = tree.root()
      const index = a % size
      const leaf = hashLeaf(entries[index] ?? Buffer.alloc(0))
      const inclusion = proveInclusion(node, index, size)
      t.strictSame(inclusion, plainInclusion(index, entries))
      const holds = (proof: readonly Buffer[], at = index, of = size) =>
        rootFromInclusion(leaf, at, of, proof)?.equals(root) === true
      t.ok(holds(inclusion))
      for (const changed of changes(inclusion, b)) t.notOk(holds(changed))
      if (size > 1) t.notOk(holds(inclusion, (index + 1) % size))
      t.notOk(holds(inclusion, size))

      const older = b % (size + 1)
      const from = { size: older, root: plainRoot(entries.slice(0, older)) }
      const to = { size, root }
      const consistency = proveConsistency(node, older, size)
      if (older > 0) t.strictSame(consistency, plainConsistency(older, entries))
      t.ok(isConsistent(from, to, consistency))
      for (const changed of changes(consistency, a)) t.notOk(isConsistent(from, to, changed))
      const other = { size, root: plainRoot(entriesOf(size + 1)) }
      if (older > 0) t.notOk(isConsistent(from, other, consistency))
      t.notOk(isConsistent(to, { ...from, size: older - 1 }, consistency))
    }),
    { numRuns: 60 },
  )
  t.end()
})

/** Returns variants of the proof: with an extra hash, a flipped bit, a missing hash, or the hashes in reverse order. */
function changes(proof: readonly Buffer[], seed: number): readonly (readonly Buffer[])[] {
  const at = proof.length === 0 ? 0 : seed % proof.length
  const one = proof[at]
  const flipped = Buffer.from(one ?? EMPTY_ROOT)
  flipped.writeUInt8(flipped.readUInt8(seed % 32) ^ (1 << (seed % 8)), seed % 32)
  return [
    [...proof, EMPTY_ROOT],
    ...(one === undefined ? [] : [proof.with(at, flipped), proof.slice(1)]),
    ...(proof.length < 2 ? [] : [[...proof].reverse()]),
  ]
}

void t.test('paths of tiles match the specification', (t) => {
  t.equal(tilePath(0, 1_234_067), 'tile/0/x001/x234/067')
  t.equal(tilePath('entries', 0, 112), 'tile/entries/000.p/112')
  t.equal(tilePath(1, 273), 'tile/1/273')
  t.equal(tilePath(0, 1000), 'tile/0/x001/000')
  // The specification's example has 273 full tiles, and partial tiles of 112, 17 and 1.
  t.same(
    [0, 1, 2].map((level) => partialWidth(level, 70_000)),
    [112, 17, 1],
  )
  t.end()
})

void t.test(
  'a bundle decodes to the entries that it was encoded from, and a damaged bundle does not decode',
  (t) => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (arrays) => {
        const entries = arrays.map((one) => Buffer.from(one))
        const bytes = encodeBundle(entries)
        const decoded = decodeBundle(bytes)
        t.strictSame(decoded, entries)
        if (bytes.length > 0) t.equal(decodeBundle(bytes.subarray(0, -1)), undefined)
        t.equal(decodeBundle(Buffer.concat([bytes, Buffer.from([1])])), undefined)
      }),
    )
    t.throws(() => encodeBundle([Buffer.alloc(65_536)]), RangeError)
    t.end()
  },
)
