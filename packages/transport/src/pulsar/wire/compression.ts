import zlib from 'node:zlib'
import { COMPRESSION, type Compression } from './commands.ts'
import { Malformed } from './protobuf.ts'

interface Codec {
  compress(bytes: Uint8Array): Buffer
  decompress(bytes: Uint8Array, size: number): Buffer
}

/** What Node has itself; lz4 and snappy come when they are given. */
const codecs = new Map<number, Codec>([
  [
    COMPRESSION.zlib,
    { compress: b => zlib.deflateSync(b), decompress: (b, size) => zlib.inflateSync(b, { maxOutputLength: size }) },
  ],
  [
    COMPRESSION.zstd,
    {
      compress: b => zlib.zstdCompressSync(b),
      decompress: (b, size) => zlib.zstdDecompressSync(b, { maxOutputLength: size }),
    },
  ],
])

export function addCompression(name: Compression, codec: Codec): void {
  codecs.set(COMPRESSION[name], codec)
}

export const canCompress = (name: Compression): boolean => name === 'none' || codecs.has(COMPRESSION[name])

export function compress(name: Compression, bytes: Uint8Array): Uint8Array {
  const codec = codecs.get(COMPRESSION[name])
  if (!codec) throw new TypeError(`no codec for "${name}" is there; Node itself has zlib and zstd`)
  return codec.compress(bytes)
}

/** `size`: what the sender announced, and the limit. Throws Malformed. */
export function decompress(type: number | undefined, bytes: Buffer, size: number): Buffer {
  if (!type) return bytes
  const codec = codecs.get(type)
  if (!codec) {
    const name = Object.entries(COMPRESSION).find(([, number]) => number === type)?.[0] ?? `number ${type}`
    throw new Malformed(`a payload compressed with ${name}, for which no codec is there`)
  }
  try {
    const all = codec.decompress(bytes, Math.max(size, 1))
    if (all.length !== size) throw new Error(`${all.length} bytes where ${size} were announced`)
    return all
  } catch (cause) {
    throw new Malformed(`a payload that does not decompress: ${(cause as Error).message}`)
  }
}
