import type { Connection } from './connection.ts'
import type { Fanout } from './fanout.ts'
import { deliveries, resets } from './metrics.ts'
import { Pursuit, type Replay } from './pursuit.ts'
import type { Starts } from './starts.ts'
import type { Vector } from './vector.ts'

const PACKET_BYTES = 64 * 1024

/** Brings a connection from a vector of its own to the shared order, no faster than it takes what it is sent. */
export async function catchUp(
  connection: Connection,
  vector: Vector,
  { fanout, replay, starts }: { fanout: Fanout; replay: Replay; starts: Starts },
): Promise<void> {
  const { wire } = connection
  const pursuit = new Pursuit(fanout.tape, replay, connection.channel.filter, vector)
  connection.pursuit = pursuit
  try {
    while (connection.state === 'catching up') {
      if (pursuit.arrived) return fanout.enter(connection)
      const parts: Buffer[] = []
      try {
        for (const { frame, cursor } of await pursuit.pull(PACKET_BYTES)) parts.push(wire.alert(frame, cursor))
      } catch (error) {
        const { vector, reset } = await starts.afterGap(error, pursuit.vector)
        pursuit.skipTo(vector)
        resets.inc({ reason: reset.reason })
        parts.push(wire.reset(reset))
      }
      if (connection.state !== 'catching up') return
      if (parts.length > 0) fanout.write(connection, wire.packet(parts))
      deliveries.inc({ kind: wire.kind }, parts.length)
      connection.cursor = pursuit.cursor
      await connection.drained()
    }
  } finally {
    pursuit.stop()
    connection.pursuit = undefined
  }
}
