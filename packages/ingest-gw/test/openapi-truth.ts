import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { openApi } from '../src/index.ts'

export const document = openApi({
  maxBodyBytes: 1 << 20,
  maxDecodedBytes: 4 << 20,
  maxEvents: 1000,
  maxEventBytes: 65_536,
})

const ajv = new Ajv2020({ strict: false, allErrors: true })
formats.default(ajv)
ajv.addSchema(document, 'openapi')

const escaped = (name: string) => name.replaceAll('~', '~0').replaceAll('/', '~1')

/** Whether the document lets a request have this body, as parsed. */
export const takes = ajv.compile({
  $ref: 'openapi#/paths/~1v1~1events/post/requestBody/content/application~1json/schema',
})

type Operation = {
  responses: Record<string, { headers?: Record<string, { $ref: string }>; content: Record<string, unknown> }>
}
const { post } = (document.paths as Record<string, { post: Operation }>)['/v1/events'] as { post: Operation }

/** Throws what about an answer of POST /v1/events the document does not say. */
export function holdToDocument(status: number, headers: Headers, body: unknown): void {
  const response = post.responses[status]
  if (!response) throw new Error(`status ${status} is not documented: ${JSON.stringify(body)}`)
  const [media = ''] = (headers.get('content-type') ?? '').split(';')
  if (!Object.hasOwn(response.content, media)) throw new Error(`${status} with ${media} is not documented`)
  const validate = ajv.compile({
    $ref: `openapi#/paths/~1v1~1events/post/responses/${status}/content/${escaped(media)}/schema`,
  })
  if (!validate(body)) throw new Error(`${status} ${JSON.stringify(body)}: ${ajv.errorsText(validate.errors)}`)
  const documented = Object.entries(response.headers ?? {}).map(
    ([name, { $ref }]) => [name.toLowerCase(), $ref] as const,
  )
  for (const [name, $ref] of documented) {
    const { required } = headerOf($ref)
    const value = headers.get(name)
    if (value === null && required) throw new Error(`${status} came without its header ${name}`)
    const valid = ajv.compile({ $ref: `openapi${$ref}/schema` })
    if (value !== null && !valid(name.startsWith('retry-after') ? Number(value) : value))
      throw new Error(`${name}: ${value} is not as documented`)
  }
  for (const name of ['traceparent', 'retry-after', 'idempotency-replayed'])
    if (headers.has(name) && !documented.some(([known]) => known === name))
      throw new Error(`${status} has the header ${name}, which is not documented`)
}

function headerOf($ref: string): { required?: boolean } {
  const { headers } = document.components as { headers: Record<string, { required?: boolean }> }
  return headers[$ref.split('/').at(-1) ?? ''] as { required?: boolean }
}
