import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** The newest version of each request that a broker takes, by the request's key. */
export type Newest = ReadonlyMap<number, number>

const API_VERSIONS = 18

/**
 * Stands before a broker, at whose address it tells clients to come, and offers no newer versions than `newest` has, and no requests that it lacks, as an older broker
 * or another make does; hangs up on a request that was not offered, as a broker does.
 */
export async function olderBroker(port: number, newest: Newest) {
  const asked = new Map<number, number>()
  const sockets = new Set<Socket>()
  const server = createServer(client => {
    const broker = connect(port, '127.0.0.1')
    const introductions = new Set<number>()
    frames(client, frame => {
      const [key, version] = [frame.readInt16BE(4), frame.readInt16BE(6)]
      if (key === API_VERSIONS) introductions.add(frame.readInt32BE(8))
      else if (version > (newest.get(key) ?? -1)) return client.destroy()
      asked.set(key, version)
      broker.write(frame)
    })
    frames(broker, frame => {
      const answer = introductions.delete(frame.readInt32BE(4)) ? capped(frame, newest) : frame
      const own = (server.address() as AddressInfo).port
      for (const place of placesOf(answer, address(port))) address(own).copy(answer, place)
      client.write(answer)
    })
    for (const [socket, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    /** The version in which each kind of request was last sent. */
    asked: asked as Newest,
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}

/** A broker's address, as Metadata and FindCoordinator give it in every version. */
function address(port: number): Buffer {
  const host = Buffer.from('127.0.0.1????')
  host.writeInt32BE(port, host.length - 4)
  return host
}

function* placesOf(bytes: Buffer, what: Buffer): Iterable<number> {
  for (let at = bytes.indexOf(what); at >= 0; at = bytes.indexOf(what, at + 1)) yield at
}

/** Calls `each` with whole requests or answers, their length before them. */
function frames(socket: Socket, each: (frame: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0)
  socket.on('data', chunk => {
    rest = Buffer.concat([rest, chunk])
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0)
      each(rest.subarray(0, end))
      rest = rest.subarray(end)
    }
  })
}

/** An answer to ApiVersions, version 0 to 2: an error code, then a key, the oldest and the newest version of each request. */
function capped(frame: Buffer, newest: Newest): Buffer {
  const offered: Buffer[] = []
  const end = 14 + 6 * frame.readInt32BE(10)
  for (let at = 14; at < end; at += 6) {
    const entry = Buffer.from(frame.subarray(at, at + 6))
    const limit = entry.readInt16BE(0) === API_VERSIONS ? 2 : newest.get(entry.readInt16BE(0))
    if (limit === undefined) continue
    entry.writeInt16BE(Math.min(limit, entry.readInt16BE(4)), 4)
    offered.push(entry)
  }
  const answer = Buffer.concat([frame.subarray(0, 14), ...offered, frame.subarray(end)])
  answer.writeInt32BE(answer.length - 4, 0)
  answer.writeInt32BE(offered.length, 10)
  return answer
}

const KEYS: Readonly<Record<string, number>> = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  OffsetCommit: 8,
  OffsetFetch: 9,
  FindCoordinator: 10,
  JoinGroup: 11,
  Heartbeat: 12,
  LeaveGroup: 13,
  SyncGroup: 14,
  DescribeGroups: 15,
  ListGroups: 16,
  CreateTopics: 19,
  InitProducerId: 22,
  AddPartitionsToTxn: 24,
  AddOffsetsToTxn: 25,
  EndTxn: 26,
  TxnOffsetCommit: 28,
  DescribeConfigs: 32,
  CreatePartitions: 37,
  IncrementalAlterConfigs: 44,
}

const newestOf = (text: string): Newest =>
  new Map(
    text
      .trim()
      .split(/\s+/)
      .map(each => each.split(':'))
      .map(([name = '', version]) => [KEYS[name] as number, Number(version)]),
  )

/** What Redpanda's own sources say that it takes (src/v/kafka/server/handlers), as far as transports need it. */
export const REDPANDA = newestOf(`
  Produce:7 Fetch:11 ListOffsets:4 Metadata:8 OffsetCommit:8 OffsetFetch:7 FindCoordinator:3 JoinGroup:6 Heartbeat:4
  LeaveGroup:4 SyncGroup:4 DescribeGroups:5 ListGroups:3 CreateTopics:6 InitProducerId:3 AddPartitionsToTxn:3
  AddOffsetsToTxn:1 EndTxn:3 TxnOffsetCommit:3 DescribeConfigs:4 CreatePartitions:3 IncrementalAlterConfigs:1
`)

/** The oldest that is spoken here in each request. */
export const OLDEST = newestOf(`
  Produce:7 Fetch:11 ListOffsets:3 Metadata:7 OffsetCommit:7 OffsetFetch:7 FindCoordinator:2 JoinGroup:5 Heartbeat:3
  LeaveGroup:3 SyncGroup:3 DescribeGroups:3 ListGroups:2 CreateTopics:4 InitProducerId:3 AddPartitionsToTxn:1
  AddOffsetsToTxn:1 EndTxn:1 TxnOffsetCommit:3 DescribeConfigs:2 CreatePartitions:1 IncrementalAlterConfigs:0
`)
