import { createHash } from 'node:crypto'
import { titleOf } from '../checks.ts'
import { type Topic, WeftError } from '../transport.ts'

/** In front of the topics that the transport keeps for itself. */
const OWN = '_weft.'
/** In front of a tenant's topics: `_tenant.<tenant>.<namespace>.<name>`. Kafka itself knows no tenants. */
const TENANT = '_tenant.'

/** Where writers note their last sequences. */
export const WRITERS = `${OWN}writers`
export const WRITER_PARTITIONS = 8

/** The changelog of a group's state: one partition for each of its input's. */
export const changelogOf = (group: string): string =>
  `${OWN}changelog.${/^[A-Za-z0-9._-]{1,200}$/.test(group) ? group : createHash('sha256').update(group).digest('hex')}`

export const isOwn = (name: string): boolean => name.startsWith(OWN) || name.startsWith('__')

const NAME = /^[A-Za-z0-9._-]{1,249}$/

/** Dots part a tenant's name from the rest, so inside of it they are escaped. */
const escaped = (part: string): string => part.replaceAll('_', '__').replaceAll('.', '_-')
const unescaped = (part: string): string => part.replaceAll(/__|_-/g, pair => (pair === '__' ? '_' : '.'))

/** A topic's name in Kafka. INVALID for one that it cannot have. */
export function nameOfTopic(topic: Topic): string {
  const { name, tenant, namespace } = topic
  for (const part of [name, tenant, namespace])
    if (part !== undefined && !NAME.test(part))
      throw new WeftError(
        'INVALID',
        `topic "${titleOf(topic)}": a name has 1 to 249 letters, digits, dots, underscores and hyphens`,
      )
  const plain = tenant === undefined && namespace === undefined
  if (name === '.' || name === '..' || (plain && (isOwn(name) || name.startsWith(TENANT))))
    throw new WeftError('INVALID', `topic "${titleOf(topic)}": this name is reserved`)
  const whole = plain ? name : `${TENANT}${escaped(tenant ?? '')}.${escaped(namespace ?? '')}.${name}`
  if (whole.length > 249)
    throw new WeftError('INVALID', `topic "${titleOf(topic)}": tenant, namespace and name are too long for Kafka`)
  return whole
}

/** The topic that has this name in Kafka. */
export function topicOfName(whole: string): Topic {
  if (!whole.startsWith(TENANT)) return { name: whole }
  const [tenant = '', namespace = '', ...name] = whole.slice(TENANT.length).split('.')
  return {
    name: name.join('.'),
    ...(tenant === '' ? {} : { tenant: unescaped(tenant) }),
    ...(namespace === '' ? {} : { namespace: unescaped(namespace) }),
  }
}

/** A group's or a writer's name among all tenants'. */
export function nameOfOwn(name: string, tenant: string | undefined): string {
  if (tenant === undefined && name.startsWith(TENANT))
    throw new WeftError('INVALID', `"${name}": names that begin with ${TENANT} are reserved`)
  return tenant === undefined ? name : `${TENANT}${escaped(tenant)}.${name}`
}

/** The name that its tenant knows it by. */
export const ownOfName = (name: string): string =>
  name.startsWith(TENANT) ? name.slice(name.indexOf('.', TENANT.length) + 1) : name
