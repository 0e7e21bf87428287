import type { Catalogue } from '@weft/schema'
import type { Transport } from '@weft/transport'

/**
 * Makes the catalogue's topics, those that are missing with a bound on what a partition keeps: days of demo sessions
 * would fill a disk long before they are too old. Returns what differs, a sentence each.
 */
export async function ensureBounded(
  { admin }: Transport,
  catalogue: Catalogue,
  retentionBytes: number,
): Promise<readonly string[]> {
  const existing = new Set((await admin.topics()).map(({ topic }) => topic.name))
  return admin.ensure(
    catalogue
      .specs()
      .map(spec =>
        existing.has(spec.topic.name) || spec.cleanup === 'compact' || spec.retentionBytes !== undefined
          ? spec
          : { ...spec, retentionBytes },
      ),
  )
}
