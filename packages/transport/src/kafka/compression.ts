import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { lz4Compress, lz4Decompress, snappyCompress, snappyDecompress } from '@platformatic/wasm-utils'
import type { Compression } from './driver.ts'

/** `number`: the algorithm's number in a batch's attributes. */
export interface Codec {
  readonly number: number
  readonly compress: (bytes: Buffer) => Buffer
  readonly decompress: (bytes: Buffer) => Buffer
}

/** What a few bytes may become at most: a batch of ours has 8 MiB. */
const maxOutputLength = 256 * 1024 * 1024

const CODECS: Readonly<Record<Exclude<Compression, 'none'>, Codec>> = {
  gzip: { number: 1, compress: bytes => gzipSync(bytes), decompress: bytes => gunzipSync(bytes, { maxOutputLength }) },
  snappy: { number: 2, compress: snappyCompress, decompress: snappy },
  lz4: { number: 3, compress: lz4Compress, decompress: lz4Decompress },
  zstd: {
    number: 4,
    compress: bytes => zstdCompressSync(bytes),
    decompress: bytes => zstdDecompressSync(bytes, { maxOutputLength }),
  },
}

export const COMPRESSIONS: readonly Compression[] = ['none', ...(Object.keys(CODECS) as Exclude<Compression, 'none'>[])]

export const codecOf = (compression: Compression): Codec | undefined =>
  compression === 'none' ? undefined : CODECS[compression]

const byNumber = new Map(Object.values(CODECS).map(codec => [codec.number, codec]))

export const codecNumbered = (number: number): Codec | undefined => byNumber.get(number)

/** Java's clients frame their blocks: https://github.com/xerial/snappy-java, SnappyOutputStream. Others write one block. */
const XERIAL = Buffer.from([0x82, ...Buffer.from('SNAPPY'), 0])
const XERIAL_HEADER_BYTES = 16

function snappy(bytes: Buffer): Buffer {
  if (!bytes.subarray(0, XERIAL.length).equals(XERIAL)) return snappyDecompress(bytes)
  const blocks: Buffer[] = []
  for (let at = XERIAL_HEADER_BYTES; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32BE(at)
    blocks.push(snappyDecompress(bytes.subarray(at + 4, end)))
    at = end
  }
  return Buffer.concat(blocks)
}
