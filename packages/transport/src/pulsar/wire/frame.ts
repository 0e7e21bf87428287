import { crc32c } from '@node-rs/crc32'
import { COMMANDS, type Command, type CommandName, type CommandOf, METADATA, type Metadata } from './commands.ts'
import { decode, encode, Malformed, Reader, Writer } from './protobuf.ts'

/** Before the checksum of what follows; before what the broker adds to an entry. */
const CHECKSUM = 0x0e01
const ENTRY_METADATA = 0x0e02

/** A frame's own fields and its command's, above the largest message: more is no Pulsar broker. */
const FRAME_MARGIN = 128 * 1024

const byNumber: (readonly [name: CommandName, shape: (typeof COMMANDS)[CommandName][1]] | undefined)[] = []
for (const [name, [number, shape]] of Object.entries(COMMANDS)) byNumber[number] = [name as CommandName, shape]

/** What a broker sent: a command, and for a message its metadata and payload behind it. `command` undefined: not one we know. */
export interface Frame {
  readonly command: Command | undefined
  readonly rest: Buffer
}

function writeCommand<N extends CommandName>(writer: Writer, name: N, body: CommandOf<N>): void {
  const [number, shape] = COMMANDS[name]
  const sizeAt = writer.length
  writer.uint32(0)
  writer.tag(1, 0)
  writer.varint(number)
  writer.tag(number, 2)
  writer.prefixed(() => encode(writer, shape, body as never))
  writer.buffer.writeUInt32BE(writer.length - sizeAt - 4, sizeAt)
}

/** A whole frame without a payload. */
export function encodeCommand<N extends CommandName>(name: N, body: CommandOf<N>): Buffer {
  const writer = new Writer()
  writer.uint32(0)
  writeCommand(writer, name, body)
  writer.buffer.writeUInt32BE(writer.length - 4, 0)
  return writer.done()
}

/** What stands before the payload; header and payload are the frame. The checksum goes over metadata and payload. */
export function encodeSend(send: CommandOf<'send'>, metadata: Metadata, payload: Uint8Array): Buffer {
  const writer = new Writer(256)
  writer.uint32(0)
  writeCommand(writer, 'send', send)
  const checksumAt = writer.length + 2
  writer.reserve(10)
  writer.length = writer.buffer.writeUInt16BE(CHECKSUM, writer.length)
  writer.uint32(0)
  const sizeAt = writer.length
  writer.uint32(0)
  encode(writer, METADATA, metadata)
  const { buffer, length } = writer
  buffer.writeUInt32BE(length - sizeAt - 4, sizeAt)
  buffer.writeUInt32BE(crc32c(payload, crc32c(buffer.subarray(sizeAt, length))), checksumAt)
  buffer.writeUInt32BE(length - 4 + payload.length, 0)
  return writer.done()
}

/** Bytes of a frame around metadata and payload, at most: what chunks leave free. */
export const SEND_OVERHEAD = 256

/** Cuts a stream of bytes into frames, whatever the pieces it comes in. */
export class FrameReader {
  #pieces: Buffer[] = []
  #bytes = 0
  #needed = 4
  /** The largest message the broker takes; announced when it is connected. */
  maxMessageBytes = 5 * 1024 * 1024

  /** All frames that are complete now. Throws Malformed at what is no frame: the stream is lost then. */
  push(piece: Buffer): readonly Frame[] {
    const frames: Frame[] = []
    this.#pieces.push(piece)
    this.#bytes += piece.length
    if (this.#bytes < this.#needed) return frames
    const all = this.#pieces.length === 1 ? piece : Buffer.concat(this.#pieces, this.#bytes)
    let at = 0
    this.#needed = 4
    while (all.length - at >= 4) {
      const size = all.readUInt32BE(at)
      if (size < 4 || size > this.maxMessageBytes + FRAME_MARGIN)
        throw new Malformed(
          `a frame of ${size} bytes: is this the binary port of a Pulsar broker, and the same TLS on both ends?`,
        )
      if (all.length - at - 4 < size) {
        this.#needed = size + 4
        break
      }
      frames.push(frameOf(all.subarray(at + 4, at + 4 + size)))
      at += 4 + size
    }
    const rest = all.subarray(at)
    this.#pieces = rest.length ? [rest] : []
    this.#bytes = rest.length
    return frames
  }
}

function frameOf(bytes: Buffer): Frame {
  const end = 4 + bytes.readUInt32BE(0)
  const reader = new Reader(bytes, 4, end)
  let command: Command | undefined
  while (reader.at < end) {
    const tag = reader.varint()
    const known = byNumber[Math.floor(tag / 8)]
    if (!known || tag % 8 !== 2) {
      reader.skip(tag % 8)
      continue
    }
    const body = reader.bytes()
    command = { name: known[0], body: decode(new Reader(body), known[1] as never) } as Command
  }
  return { command, rest: bytes.subarray(end) }
}

export interface Entry {
  readonly metadata: Metadata
  /** As sent: a batch in one piece, compressed. */
  readonly payload: Buffer
  /** When the broker took it and its place among the topic's messages, where the broker was told to say so. */
  readonly brokerTime?: number | undefined
  readonly index?: number | undefined
}

const BROKER = { time: [1, 'int'], index: [2, 'int'] } as const

/** Of the bytes behind a message command. Throws Malformed, also when the checksum is not right. */
export function entryOf(rest: Buffer): Entry {
  let at = 0
  let broker: { readonly time?: number | undefined; readonly index?: number | undefined } = {}
  if (rest.length >= 6 && rest.readUInt16BE(0) === ENTRY_METADATA) {
    const size = rest.readUInt32BE(2)
    broker = decode(new Reader(rest, 6, 6 + size), BROKER)
    at = 6 + size
  }
  if (rest.length >= at + 6 && rest.readUInt16BE(at) === CHECKSUM) {
    const told = rest.readUInt32BE(at + 2)
    at += 6
    if (crc32c(rest.subarray(at)) !== told) throw new Malformed('the checksum of an entry is not right')
  }
  if (rest.length < at + 4) throw new Malformed('an entry without metadata')
  const start = at + 4
  const end = start + rest.readUInt32BE(at)
  const metadata = decode(new Reader(rest, start, end), METADATA)
  return { metadata, payload: rest.subarray(end), brokerTime: broker.time, index: broker.index }
}
